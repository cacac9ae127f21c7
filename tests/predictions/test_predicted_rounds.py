"""Rounds to a target as predicted, against networks that are trained."""

import numpy as np
import pytest

import consilience as cs
from consilience.experiments.deployment import deploy
from consilience.experiments.rounds_prediction import predict_rounds

ALGORITHMS = {
    "dgd": cs.algorithms.DGD,
    "atc": cs.algorithms.AdaptThenCombine,
    "cta": cs.algorithms.CombineThenAdapt,
}


def predicted_and_trained(graph: str, algorithm: str) -> tuple[np.ndarray, np.ndarray]:
    """Rounds of each agent until its test loss is half of what it was, at half of the largest stable learning rate."""
    deployment = deploy({"graph": {"family": graph}}, algorithm=algorithm)
    prediction = predict_rounds(deployment)
    predicted = prediction.agents.rounds.values
    run = cs.simulate(
        ALGORITHMS[algorithm](learning_rate=prediction.learning_rate),
        model=deployment.model,
        task=deployment.task,
        shards=deployment.shards,
        graph=deployment.graph,
        mixing=prediction.mixing,
        num_rounds=int(1.2 * predicted.max()) + 10,
        batch_size=None,
        common_init=True,  # the seed of both is 0
        observe=("loss",),
        observe_every=1,
    )
    is_below = run.loss.values <= prediction.target
    assert is_below.any(axis=0).all()
    return predicted, is_below.argmax(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["dgd", "atc", "cta"])
@pytest.mark.parametrize("graph", ["cycle", "complete"])
def test_rounds_at_width_1024(graph: str, algorithm: str) -> None:
    """Measured on the cycle: off by 0 or 1 rounds of 48 to 70 (DGD) and 10 to 21 (ATC), by 6 of 104 and 1 of 212 (CTA).

    There the test losses are nearly flat where they meet the target: an error of 1 % in the loss moves the crossing by
    5 %. Hence a round, and 10 %.
    """
    predicted, trained = predicted_and_trained(graph, algorithm)
    np.testing.assert_array_less(np.abs(trained - predicted), 1.5 + 0.1 * predicted)
    # All agents together do better: the median is good to a round or 3 %.
    assert np.median(np.abs(trained - predicted)) <= max(1, 0.03 * np.median(predicted))
