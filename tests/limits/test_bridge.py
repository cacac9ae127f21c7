"""Where the two papers meet: the law of the transition in its limits, and against the exact rounds that it shortens."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from consilience import graphs
from consilience.recipes import wide_transition
from consilience.recipes.wide_transition import Agents, WideTransition, agents_of, at_rest, at_rounds, of_mean
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.coordinates import Coordinates, coordinates
from consilience.theory.peer_to_peer.operators import AffineMap, round_map

RATE = 0.2
NUM_AGENTS, SAMPLES = 5, 3


def network(depth: int, seed: int = 0) -> Coordinates:
    """Five agents with three samples of ten features; two outputs."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(NUM_AGENTS, SAMPLES, 10)), random.normal(size=(NUM_AGENTS, SAMPLES, 2))
    kernel = peer_to_peer.infinite_width_kernel(depth, "relu", 2.0, 0.1)
    return coordinates(peer_to_peer.linearize(kernel, None, x, y))


def exact(coords: Coordinates, coupling: float, weight_decay: float = 0.0) -> AffineMap:
    mixing = graphs.diffusive(graphs.complete(NUM_AGENTS), learning_rate=RATE, coupling=coupling)
    return round_map(coords, mixing, algorithm="dgd", learning_rate=RATE, weight_decay=weight_decay)


def after(round_: AffineMap, num_rounds: int, shape: tuple[int, ...]) -> np.ndarray:
    """The state after some rounds, from 0."""
    values, vectors = np.linalg.eigh(round_.matrix)
    series = np.array([num_rounds if abs(1 - z) < 1e-13 else (1 - z**num_rounds) / (1 - z) for z in values])
    return (vectors @ (series[:, None] * (vectors.T @ round_.offset))).reshape(shape)


@pytest.mark.parametrize("coupling", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("depth", [0, 1])
def test_at_rest_the_law_is_the_fixed_point_of_the_rounds(depth: int, coupling: float) -> None:
    coords = network(depth)
    round_ = exact(coords, coupling, weight_decay=0.01)
    expected = np.linalg.solve(np.eye(coords.size) - round_.matrix, round_.offset)
    found = at_rest(agents_of(coords), coupling, 0.01)
    # Two solves of conditions up to 1e4 in doubles.
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("coupling", [0.01, 0.3, 2.0])
def test_in_time_the_law_follows_the_rounds(coupling: float) -> None:
    """Agents follow the mean with a delay 1/σ, and it moves at σ times an eigenvalue of ⟨H/(σ + H)⟩ ~ 1/N."""
    coords = network(1)
    agents, round_ = agents_of(coords), exact(coords, coupling)
    slowest = np.linalg.eigvalsh(of_mean(agents, coupling)[0])[0] * RATE
    for num_rounds in (int(0.3 / slowest), int(3 / slowest)):
        found = at_rounds(agents, coupling, RATE, np.array([float(num_rounds)]))[0]
        expected = after(round_, num_rounds, found.shape)
        # Second order in the ratio of the two rates, at most (1/5)² for five agents.
        assert np.linalg.norm(found - expected) < 0.04 * np.linalg.norm(expected)


def test_weak_coupling_projects_onto_the_solutions_of_all_at_once() -> None:
    coords = network(1)
    agents = agents_of(coords)
    weak = 1e-7 * agents.curvatures[agents.curvatures > 0].min()
    projectors = []
    for rows in coords.linearization.shards:
        basis = np.linalg.qr(coords.features[rows].T)[0]
        projectors.append(basis @ basis.T)
    np.testing.assert_allclose(of_mean(agents, weak)[0] / weak, np.mean(projectors, axis=0), atol=1e-6)  # σ/h ≤ 1e-7


def test_strong_coupling_descends_the_mean_loss() -> None:
    agents = agents_of(network(1))
    matrix, force = of_mean(agents, 1e8)
    curvature = (agents.axes * agents.curvatures[:, None]) @ agents.axes.swapaxes(1, 2)
    np.testing.assert_allclose(matrix, curvature.mean(axis=0), atol=1e-6)  # h/σ, 1e-8 times a curvature of a few units
    np.testing.assert_allclose(force, agents.back(agents.forces).mean(axis=0), atol=1e-6)


def test_resistances_add() -> None:
    """What one agent knows with curvature h is learned by all at the rate 1/(N (1/σ + 1/h))."""
    h, coupling = 0.7, 0.3
    alone = Agents(np.array([[h], [0.0], [0.0], [0.0]]), np.ones((4, 1, 1)), np.zeros((4, 1, 1)))
    assert of_mean(alone, coupling)[0].item() == pytest.approx(1 / (4 * (1 / coupling + 1 / h)), rel=1e-14)
    # With weight decay the state of rest is half-way at σ = 2γ(N − 2), for 2γ ≪ h.
    decay = 1e-6
    forces = np.array([h, 0.0, 0.0, 0.0]).reshape(4, 1, 1)
    known = at_rest(dataclasses.replace(alone, forces=forces), 2 * decay * (4 - 2), decay)[0].item()
    assert known == pytest.approx(1.0, abs=1e-4)  # the agent itself; 2γ/h
    matrix, force = of_mean(dataclasses.replace(alone, forces=forces), 2 * decay * (4 - 2), decay)
    assert (force / matrix).item() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("coupling", [1e-3, 1.0])
def test_with_a_positive_kernel_everybody_comes_to_know_everything_at_any_coupling(coupling: float) -> None:
    """And with a singular one, here of an affine model of 11 features on 15 samples, it depends on σ."""
    for depth, is_known in ((1, True), (0, False)):
        coords = network(depth)
        states = at_rounds(agents_of(coords), coupling, RATE, np.array([1e9]))[0]
        errors = coords.features @ states + coords.linearization.residuals
        assert (abs(errors).max() < 1e-6) == is_known  # 1e9 rounds at a slowest rate of 1e-5 leave nothing


def test_independent_starts_mean_a_kernel_smaller_by_the_number_of_agents_to_the_depth() -> None:
    config = WideTransition()
    task, shards = wide_transition.load(config)
    for depth in (0, 1, 2):
        medians = []
        for start in ("common", "independent"):
            found = wide_transition.infinite(depth, task, shards, start=start)
            medians.append(np.median(np.linalg.eigvalsh(found.coordinates.linearization.kernel)))
        if depth == 0:
            assert medians[0] == pytest.approx(medians[1], abs=1e-12)  # singular: 56 of 100 eigenvalues are not zero
            continue
        # Biases, of variance 0.1, add terms in lower powers of N; most of them go into the largest eigenvalue.
        assert np.log10(medians[0] / medians[1]) == pytest.approx(depth, abs=0.15)
