"""Rounds to a target, against trajectories and against a plain loop over a linear model."""

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer import Linearization
from consilience.theory.peer_to_peer.rounds_to_target import QUANTITIES, rounds_to_target

MIXINGS = [graphs.metropolis(graphs.cycle(4)), graphs.metropolis(graphs.star(4)), graphs.uniform(4)]
RATES = [0.06, 0.05, 0.04]


@dataclass
class Problem:
    """An affine model f(x) = x·θ; each of four agents sees inputs around a centre of its own."""

    inputs: np.ndarray
    targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray
    linearization: Linearization


def problem(*, noise: float = 0.0, num_samples: int = 6, num_features: int = 5) -> Problem:
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(4, num_samples, num_features)) + rng.normal(size=(4, 1, num_features))
    test = rng.normal(size=(30, num_features))
    slope = rng.normal(size=(num_features, 1))
    targets, answers = inputs @ slope + noise * rng.normal(size=(4, num_samples, 1)), test @ slope
    kernel = peer_to_peer.infinite_width_kernel(0, "linear", num_features, 0.0)  # K = x·x'
    lin = peer_to_peer.linearize(kernel, None, inputs, targets, test_inputs=test, test_targets=answers)
    return Problem(inputs, targets, test, answers, lin)


def losses_of_a_loop(
    given: Problem, weights: np.ndarray, rate: float, algorithm: str, num_rounds: int
) -> dict[str, Any]:
    """Test loss, train loss and objective, trained in parameter space; shapes (rounds, agents)."""
    x, y, test, answers = given.inputs, given.targets, given.test_inputs, given.test_targets
    theta, records = np.zeros((4, x.shape[-1])), []

    def gradient(theta: np.ndarray) -> np.ndarray:
        errors = np.einsum("qkd,qd->qk", x, theta) - y[..., 0]
        return np.einsum("qkd,qk->qd", x, errors) / x.shape[1]

    for _ in range(num_rounds + 1):
        of_data = np.square(np.einsum("rkd,qd->qrk", x, theta) - y[..., 0]).mean(axis=2) / 2
        of_test = np.square(theta @ test.T - answers[:, 0]).mean(axis=1) / 2
        records.append((of_test, np.diag(of_data), of_data.mean(axis=1)))
        if algorithm == "dgd":
            theta = weights @ theta - rate * gradient(theta)
        elif algorithm == "atc":
            theta = weights @ (theta - rate * gradient(theta))
        else:
            theta = weights @ theta
            theta = theta - rate * gradient(theta)
    return dict(zip(QUANTITIES, map(np.array, zip(*records, strict=True)), strict=True))


def first_below(loss: np.ndarray, target: float) -> np.ndarray:
    return np.array([np.argmax(own <= target) if (own <= target).any() else math.nan for own in loss.T])


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("algorithm", ["dgd", "atc", "cta"])
def test_the_first_round_is_that_of_a_plain_loop(algorithm: str, quantity: str) -> None:
    given = problem()
    found = rounds_to_target(
        given.linearization,
        MIXINGS,
        algorithm=algorithm,
        learning_rates=RATES,
        target=0.02,
        quantity=quantity,
        max_rounds=300,
    )
    assert found.mixing.values.tolist() == [mixing.name for mixing in MIXINGS]
    for k, (mixing, rate) in enumerate(zip(MIXINGS, RATES, strict=True)):
        loss = losses_of_a_loop(given, mixing.weights, rate, algorithm, 300)[quantity]
        np.testing.assert_array_equal(found.rounds[k], first_below(loss, 0.02))
        last = int(found.rounds_computed[k])
        # 300 rounds of rounding at 1e-16 each.
        np.testing.assert_allclose(found.last_loss[k], loss[last], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(found.lowest_loss[k], loss[: last + 1].min(axis=0), rtol=1e-10, atol=1e-13)
    assert found.reached.any()


def test_candidates_do_not_influence_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem()
    options: dict[str, Any] = {"target": 0.02, "max_rounds": 400}
    together = rounds_to_target(given.linearization, MIXINGS, learning_rates=RATES, **options)
    for k in range(3):
        alone = rounds_to_target(given.linearization, MIXINGS[k], learning_rates=RATES[k], **options)
        np.testing.assert_array_equal(alone.rounds[0], together.rounds[k])
    monkeypatch.setattr(sys.modules[rounds_to_target.__module__], "_STATE_BYTES", 1.0)
    one_by_one = rounds_to_target(given.linearization, MIXINGS, learning_rates=RATES, **options)
    np.testing.assert_array_equal(one_by_one.rounds, together.rounds)
    assert one_by_one.outcome.values.tolist() == together.outcome.values.tolist()


def test_one_matrix_or_one_rate_serves_all() -> None:
    given = problem()
    found = rounds_to_target(given.linearization, MIXINGS[0], learning_rates=RATES, target=0.1, max_rounds=50)
    assert found.learning_rate.values.tolist() == RATES
    found = rounds_to_target(
        given.linearization, [one.weights for one in MIXINGS], learning_rates=0.1, target=0.1, max_rounds=50
    )
    assert found.learning_rate.values.tolist() == [0.1] * 3


def test_how_candidates_end() -> None:
    """Alone agents settle above the target (their data do not tell all); a rate of 10 diverges; a small one is slow."""
    given = problem(num_samples=3)
    alone, together = np.eye(4), MIXINGS[0]
    found = rounds_to_target(
        given.linearization,
        [together, alone, together, together],
        learning_rates=[0.1, 0.1, 10.0, 1e-5],
        target=0.01,
        max_rounds=4000,
    )
    assert found.outcome.values.tolist() == ["reached", "settled", "diverged", "out of rounds"]
    assert found.reached.all("agent").values.tolist() == [True, False, False, False]
    assert found.rounds_computed.values[0] < 1000 <= found.rounds_computed.values[1] < 4000
    assert found.rounds_computed.values[2] < 100
    assert found.rounds_computed.values[3] == 4000


def test_what_settles_is_not_given_up_while_it_may_arrive() -> None:
    """Weakly coupled agents first come to rest by themselves, then slowly approach each other."""
    lin = problem(num_samples=3).linearization
    options: dict[str, Any] = {"learning_rates": 0.1, "quantity": "objective", "max_rounds": 10_000}
    alone = rounds_to_target(lin, np.eye(4), target=1e-3, **options)
    assert alone.outcome.item() == "settled"
    weights = np.eye(4) + 5e-7 * (MIXINGS[0].weights - np.eye(4))
    found = rounds_to_target(lin, weights, target=0.998 * float(alone.lowest_loss.max()), **options)
    assert found.outcome.item() == "reached"
    assert float(found.rounds.max()) > 2048  # after the first time at which losses may be called settled


def test_a_candidate_is_overtaken() -> None:
    rates = [0.05, 0.0005]
    found = rounds_to_target(
        problem().linearization, MIXINGS[0], learning_rates=rates, target=0.02, patience=3, max_rounds=50_000
    )
    first = float(found.rounds[0].max())
    assert found.outcome.values.tolist() == ["reached", "overtaken"]
    assert 3 * first <= int(found.rounds_computed[1]) <= 3 * first + 32


def test_a_loss_that_rises_again_is_marked() -> None:
    """With few noisy samples the test loss is lowest before the noise is fitted; a slow agent keeps others waiting."""
    given = problem(noise=2.0, num_samples=3, num_features=12)
    loss = losses_of_a_loop(given, np.eye(4), 0.05, "dgd", 3000)["test_loss"]
    dips = np.flatnonzero(loss.min(axis=0) < 0.97 * np.minimum(loss[0], loss[-1]))
    assert len(dips), "no test loss rises: the test shows nothing"
    target = 1.01 * loss[:, dips[0]].min()
    found = rounds_to_target(given.linearization, np.eye(4), learning_rates=0.05, target=target, max_rounds=3000)
    expected = (loss <= target).any(axis=0) & (loss[int(found.rounds_computed[0])] > target)
    assert found.rises_again[0].values.tolist() == expected.tolist()
    assert expected[dips[0]]


def test_a_target_that_is_met_from_the_start_takes_no_round() -> None:
    found = rounds_to_target(problem().linearization, MIXINGS[0], learning_rates=0.1, target=1e6)
    assert found.rounds.values.tolist() == [[0.0] * 4]
    assert found.rounds_computed.values.tolist() == [0]


@pytest.mark.parametrize("max_rounds", [0, 1, 31, 32, 33])
def test_no_more_rounds_than_asked_for(max_rounds: int) -> None:
    found = rounds_to_target(problem().linearization, MIXINGS, learning_rates=0.01, target=1e-3, max_rounds=max_rounds)
    assert found.rounds_computed.values.tolist() == [max_rounds] * 3
    assert set(found.outcome.values.tolist()) == {"out of rounds"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"target": 0.0}, InvalidSpec, "comes down to zero only as rounds go to infinity"),
        ({"target": -1.0}, InvalidSpec, r"target=-1.0: this is a number from 0 up"),
        ({"target": math.nan}, InvalidSpec, "target=nan"),
        ({"quantity": "accuracy"}, UnknownName, "is not a loss with a target"),
        ({"algorithm": "dgdd"}, UnknownName, "Did you mean 'dgd'"),
        ({"learning_rates": 0.0}, InvalidSpec, "a positive number"),
        ({"learning_rates": [0.1, 0.2]}, IncompatiblePair, "3 mixing matrices and 2 learning rates"),
        ({"mixings": []}, IncompatiblePair, "0 mixing matrices"),
        ({"mixings": np.eye(3)}, IncompatiblePair, "3 agents"),
        ({"max_rounds": -1}, InvalidSpec, "max_rounds=-1"),
        ({"patience": 0.5}, InvalidSpec, "nobody arrives before the first"),
    ],
)
def test_bad_arguments_are_explained(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"mixings": MIXINGS, "learning_rates": 0.1, "target": 0.1, "max_rounds": 10, **changes}
    with pytest.raises(error, match=message):
        rounds_to_target(problem().linearization, arguments.pop("mixings"), **arguments)


def test_a_test_loss_needs_test_data() -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    lin = peer_to_peer.linearize(peer_to_peer.infinite_width_kernel(1), None, x, x[..., :1])
    with pytest.raises(InvalidSpec, match="without test data"):
        rounds_to_target(lin, MIXINGS[0], learning_rates=0.1, target=0.1)
