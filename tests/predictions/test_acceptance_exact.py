"""What the issue asks of distributed SGD at saddles (#59) and of variance-corrected averaging (#70), as measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import consilience as cs
from consilience import graphs
from consilience.algorithms import AdaptThenCombine, Algorithm, FederatedAveraging
from consilience.algorithms.decaying_coupling import DecayingCoupling
from consilience.algorithms.variance_corrected import VarianceCorrected
from consilience.simulation import Experiment, make_ensemble, resolve_experiment, run_ensemble

# ---- #59: a two-layer linear network, whose saddle is strict -----------------------------------------------------

PULLS = 1 + 2 * np.linspace(-1, 1, 8)
"""c_i: agent i wants u v = c_i; their mean is 1, and two of them are negative.

L_i(u, v) = ½ (u v − c_i)². The mean of all has minima where u v = 1, and at (0, 0) a saddle with the eigenvalues ±1.
Its stable manifold is u = −v. No agent's step leaves it, not by a rounding: both parts of a gradient there are the same
number with two signs. Neither does coupling.
"""

RING = graphs.cycle(8)
DECAYS: dict[str, Any] = {"learning_rate": 0.2, "coupling": 10.0, "rate_exponent": 0.6, "coupling_exponent": 0.1}


def saddle(algorithm: Algorithm, num_rounds: int, **options: Any) -> Experiment:
    """Eight agents at different places of the stable manifold, of both signs."""
    inputs, targets = np.ones((8, 1)), PULLS[:, None]
    task = cs.tasks.from_arrays(inputs, targets, inputs, targets, name="product")
    places = np.array([1.5, -0.8, 0.3, 1.1, -1.2, 0.6, -0.4, 0.9])[:, None]
    return resolve_experiment(
        algorithm,
        model=cs.models.from_functions(
            lambda key: {"u": np.zeros(1, np.float32), "v": np.zeros(1, np.float32)},  # pyright: ignore
            lambda params, inputs: params["u"] * params["v"] * inputs,
        ),
        task=task,
        shards=cs.tasks.from_indices(task, list(np.arange(8)[:, None])),
        graph=RING,
        initial_params={"u": places, "v": -places},
        batch_size=None,
        num_rounds=num_rounds,
        dtype="float64",
        **{"observe": (), **options},
    )


def ends_at(algorithm: Algorithm, num_rounds: int, seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Final u and v, (seeds, agents)."""
    experiment = saddle(algorithm, num_rounds)
    params = run_ensemble(experiment, len(seeds) * [algorithm], list(seeds)).params
    return params["u"][..., 0], params["v"][..., 0]


@pytest.mark.slow
def test_noise_leaves_the_saddle_and_nothing_else_does() -> None:
    """100 of 100 noisy runs from the stable manifold escape; a run without noise stays on it and ends at the saddle."""
    u, v = ends_at(DecayingCoupling(**DECAYS), 6000, range(1))
    np.testing.assert_array_equal(u, -v)
    assert np.abs(u).max() < 1e-6, "the stable manifold leads to the saddle, and 6000 rounds are e^-16 of the way"
    u, v = ends_at(DecayingCoupling(**DECAYS, noise_scale=0.1), 6000, range(100))
    # At the minima u + v is 2 or −2, on the stable manifold 0.
    assert (np.abs(u + v).min(axis=1) > 1).sum() == 100
    # They end where the mean loss is minimal, up to the distances of agents from consensus, 0.02 of u and of v.
    assert np.abs(u * v - 1).max() < 0.15
    # Null: either minimum with probability 1/2; 30 are six standard deviations of the number of heads.
    assert abs((u.mean(axis=1) > 0).sum() - 50) < 30


@pytest.mark.slow
def test_agents_agree_as_fast_as_steps_decay_against_the_pull() -> None:
    """At the minimum β_t Σ_j q_ij (u_j − u_i) = α_t ∂L_i/∂u holds u_i in place, with ∂L_i/∂u = (1 − c_i) v and v = ±1.

    Distances are those of L_Q⁺ (c − 1) times α_t/β_t, which falls as t^{−1/2} here; the noise adds some per cent.
    """
    apart = np.linalg.pinv(RING.laplacian) @ (PULLS - 1)
    for num_rounds in (2000, 20_000):
        u, _ = ends_at(DecayingCoupling(**DECAYS, noise_scale=0.1), num_rounds, range(10))
        ratio = 8 / DECAYS["coupling"] * num_rounds**-0.5
        assert u.std(axis=1).mean() == pytest.approx(ratio * apart.std(), rel=0.1)


@pytest.mark.slow
def test_agents_do_not_agree_if_steps_and_pull_decay_alike() -> None:
    alike = {**DECAYS, "coupling_exponent": DECAYS["rate_exponent"]}
    spread = [
        ends_at(DecayingCoupling(**alike, noise_scale=0.1), num_rounds, range(10))[0].std(axis=1).mean()
        for num_rounds in (2000, 20_000)
    ]
    assert spread[1] > 0.7 * spread[0]


# ---- #70: twenty networks that start apart -----------------------------------------------------------------------

DEEP = cs.models.mlp(depth=3, width=50, initialiser="he")
NUM_AGENTS, SEEDS = 20, (0, 1, 2)
REGULAR = graphs.random_regular(NUM_AGENTS, 4, seed=0)
"""Every agent averages k = 5 models, its own included, with equal weights."""
COMPLETE = graphs.complete(NUM_AGENTS)


def digits(
    data_dir: Path, algorithm: Algorithm, graph: graphs.Graph, num_rounds: int, *, common_init: bool = False
) -> Experiment:
    """MNIST in equal parts: five local steps on mini-batches of 32 per round."""
    try:
        task = cs.tasks.load("mnist", data_dir=data_dir).subset(num_test=1000)
    except cs.errors.DataError:
        pytest.skip("MNIST is not there")
    return resolve_experiment(
        algorithm,
        model=DEEP,
        task=task,
        shards=cs.tasks.iid(task, NUM_AGENTS, seed=0),
        graph=graph,
        num_rounds=num_rounds,
        batch_size=32,
        observe=("accuracy",),
        observe_every=1,
        common_init=common_init,
    )


def rounds_to_90_percent(data_dir: Path, algorithm: Algorithm, graph: graphs.Graph, **options: Any) -> np.ndarray:
    """Of the mean accuracy over agents, by seed; one beyond the last round where it stays below."""
    experiment = digits(data_dir, algorithm, graph, **options)
    trajectory = run_ensemble(experiment, len(SEEDS) * [algorithm], SEEDS)
    accuracy = trajectory.observations["accuracy"].mean(axis=-1)
    late = np.c_[accuracy >= 0.9, np.ones(len(SEEDS), bool)]
    return late.argmax(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(("graph", "k"), [(REGULAR, 5), (COMPLETE, 20)], ids=lambda value: getattr(value, "name", ""))
def test_averaging_loses_variance_and_the_correction_gives_it_back(data_dir: Path, graph: Any, k: int) -> None:
    """Weights of every layer after the first round, whose local steps move little, against those before it."""
    for algorithm, expected, tolerance in (
        # Five standard errors of the variance of the smallest layer, 500 weights, are 0.3 of it; agents share much.
        (AdaptThenCombine(0.1, local_steps=5), 1 / k, 0.3 / k),
        (VarianceCorrected(0.1, local_steps=5), 1.0, 0.02),
    ):
        experiment = digits(data_dir, algorithm, graph, 1)
        trajectory = run_ensemble(experiment, [algorithm], [0])
        for layer in range(4):
            before = initial_weights(experiment, f"layer_{layer}")
            after = np.asarray(trajectory.params[f"layer_{layer}"]["weight"])[0]
            ratio = after.var(axis=(1, 2)).mean() / before.var(axis=(1, 2)).mean()
            assert ratio == pytest.approx(expected, abs=tolerance), f"layer {layer}"


def initial_weights(experiment: Experiment, layer: str) -> np.ndarray:
    """Weights of a layer of all agents before the first round of seed 0."""
    drawn = make_ensemble(experiment, [0]).initial_params([0])
    return np.asarray(drawn[layer]["weight"])[0]


@pytest.mark.slow
@pytest.mark.parametrize("graph", [REGULAR, COMPLETE], ids=lambda graph: graph.name)
def test_corrected_gossip_is_nearly_as_fast_as_federated_averaging(data_dir: Path, graph: graphs.Graph) -> None:
    """At the learning rate 0.1, means over three seeds; plain gossip does not arrive in 100 rounds.

    The first rounds of agents that start apart are lost to mixing, some five of them on the regular graph: where the
    server needs but 23, at the rate 0.2, the ratio of 1.2 is missed there (1.29).
    """
    federated = FederatedAveraging(0.1, local_steps=5)
    server = rounds_to_90_percent(data_dir, federated, COMPLETE, num_rounds=60, common_init=True)
    corrected = rounds_to_90_percent(data_dir, VarianceCorrected(0.1, local_steps=5), graph, num_rounds=60)
    plain = rounds_to_90_percent(data_dir, AdaptThenCombine(0.1, local_steps=5), graph, num_rounds=100)
    assert corrected.mean() <= 0.6 * plain.mean()
    assert corrected.mean() <= 1.2 * server.mean()
