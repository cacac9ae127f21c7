"""Slow modes against rounds taken one by one, and against their closed form for identical shards."""

import sys

import numpy as np
import pytest

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.theory.peer_to_peer import Linearization
from consilience.theory.peer_to_peer.rounds import advance, initial_state
from consilience.theory.peer_to_peer.spectra.modes import decompose, modes

modes_module = sys.modules[modes.__module__]  # in the package its name is the function's

ALGORITHMS = ("dgd", "atc", "cta")
SIZES = (3, 4, 5, 2, 6)
DIRECTED = [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0]]
MIXINGS = {
    "cycle": graphs.metropolis(graphs.cycle(5)),
    "star": graphs.metropolis(graphs.star(5)),
    "directed": graphs.row_stochastic(graphs.from_adjacency(DIRECTED)),
    "disconnected": graphs.from_matrix(
        np.kron(np.diag([1, 0]), np.full((3, 3), 1 / 3))[:5, :5] + np.diag([0, 0, 0, 1, 1])
    ),
}


def linear_network(sizes=SIZES, dimension=8, columns=2, same_inputs=False):
    """A model that is linear in its parameters, whose agents may hold the same inputs, with targets of their own."""
    random = np.random.default_rng(0)
    features = random.normal(size=(sum(sizes), dimension)) / np.sqrt(dimension)
    if same_inputs:
        features = np.tile(features[: sizes[0]], (len(sizes), 1))
    none = np.zeros((0, columns))
    return Linearization(
        sizes=np.array(sizes),
        num_outputs=columns,
        gram=features @ features.T,
        outputs=np.zeros((sum(sizes), columns)),
        targets=random.normal(size=(sum(sizes), columns)),
        test_outputs=none,
        test_targets=none,
        start=np.zeros((len(sizes), 0)),
        origin_norm=0.0,
        origin=None,
    )


def outputs_by_round(network, mixing, algorithm, rate, decay, num_rounds):
    """Outputs on all training data over √n, shape (rounds + 1, agents, columns, rows)."""
    state, found = initial_state(network), []
    for _ in range(num_rounds + 1):
        found.append(state.products[0] / np.sqrt(np.repeat(network.sizes, network.sizes)))
        state = advance(
            network,
            state,
            mixing.weights[None],
            algorithm=algorithm,
            learning_rate=np.array([rate]),
            weight_decay=decay,
        )
    return np.array(found)


def largest_difference(network, mixing, algorithm, rate, decay):
    """Between changes of outputs over rounds, and those that the modes predict; and how the modes were found."""
    method, parts = decompose(network, mixing, algorithm=algorithm, learning_rate=rate, weight_decay=decay)
    parts = list(parts)
    trained = outputs_by_round(network, mixing, algorithm, rate, decay, 12)
    predicted = np.array([sum((part.eigenvalue**k * part.error).real for part in parts) for k in range(13)])
    difference = np.abs((trained - trained[0]) - (predicted - predicted[0]))[[0, 5, 12]]  # chains at λ = 0 need rounds
    return difference.max() / np.abs(trained).max(), method


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", MIXINGS)
@pytest.mark.parametrize("decay", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_modes_add_up_to_the_trajectory(name, algorithm, decay, monkeypatch):
    network = linear_network()
    difference, method = largest_difference(network, MIXINGS[name], algorithm, 0.3, decay)
    assert difference < 1e-11  # rounding of 1e-16, times the condition of eigenvectors that are not orthogonal
    assert method == "all eigenvectors of a matrix of 40"
    monkeypatch.setattr(modes_module, "LARGEST_SYMMETRIC", 0)
    monkeypatch.setattr(modes_module, "LARGEST_GENERAL", 0)
    difference, method = largest_difference(network, MIXINGS[name], algorithm, 0.3, decay)
    assert difference < 1e-10  # the Krylov space is invariant when it ends
    assert "Krylov" in method
    monkeypatch.setattr(modes_module, "LARGEST_DENSE", 0)  # without coordinates
    assert largest_difference(network, MIXINGS[name], algorithm, 0.3, decay)[0] < 1e-10


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_identical_shards_have_joint_modes(algorithm, monkeypatch):
    network, mixing, rate, decay = linear_network((4,) * 5, same_inputs=True), MIXINGS["star"], 0.4, 0.05
    table = modes(network, mixing, algorithm=algorithm, learning_rate=rate, weight_decay=decay, num_modes=100)
    w, h = table.mixing_eigenvalue.values, table.kernel_eigenvalue.values
    assert set(w.round(9)) <= set(mixing.eigenvalues.round(9))
    assert set(h.round(9)) <= set((np.linalg.eigvalsh(network.kernel[:4, :4]) / 4).round(9))
    slope = 1 - rate * (h + 2 * decay)
    np.testing.assert_allclose(table.eigenvalue, w + slope - 1 if algorithm == "dgd" else w * slope, rtol=1e-12)
    assert table.attrs["overlap"] == pytest.approx(1, abs=1e-12)  # joint modes are orthogonal in outputs
    assert (table.kind.values[np.isclose(w, 1)] == "consensus").all()
    assert (table.kind.values[~np.isclose(w, 1)] == "disagreement").all()
    assert largest_difference(network, mixing, algorithm, rate, decay)[0] < 1e-12  # rounding
    monkeypatch.setattr(modes_module, "_is_identical", lambda network: False)
    dense = modes(network, mixing, algorithm=algorithm, learning_rate=rate, weight_decay=decay, num_modes=100)
    several = (table.eigenvalue > 1e-12).values  # those with λ = 0 are one mode there
    np.testing.assert_allclose(dense.eigenvalue[: several.sum()], table.eigenvalue[several], rtol=1e-10)
    np.testing.assert_allclose(dense.error_share[: several.sum()], table.error_share[several], rtol=1e-8)


def test_the_table_lists_what_is_slow_and_carries_error():
    network, mixing = linear_network(), MIXINGS["cycle"]
    table = modes(network, mixing, learning_rate=0.3, num_modes=6)
    moduli = np.abs(table.eigenvalue.values)
    assert table.sizes == {"mode": 6, "agent": 5}
    assert (np.diff(moduli) <= 0).all()
    np.testing.assert_allclose(table.rounds, -1 / np.log(moduli))
    np.testing.assert_allclose(table.agent_share.sum("agent"), 1)
    assert ((table.consensus_share >= 0) & (table.consensus_share <= 1 + 1e-12)).all()
    assert table.attrs["share_covered"] == pytest.approx(float(table.error_share.sum()))
    everything = modes(network, mixing, learning_rate=0.3, num_modes=1000)
    assert everything.attrs["share_covered"] > 0.999
    assert (everything.error_share >= modes_module.NEGLIGIBLE).all()


def test_the_slowest_mode_rules_the_last_rounds():
    network, mixing = linear_network(), MIXINGS["directed"]
    table = modes(network, mixing, learning_rate=0.3)
    trained = outputs_by_round(network, mixing, "dgd", 0.3, 0.0, 1500)
    last = np.linalg.norm((trained[-1] - trained[-2]).ravel()) / np.linalg.norm((trained[-2] - trained[-3]).ravel())
    assert last == pytest.approx(abs(table.eigenvalue.values[0]), abs=1e-6)  # the next mode has died by e^-10


def test_growing_modes_come_first():
    table = modes(linear_network(), MIXINGS["cycle"], learning_rate=3.0)
    assert table.rounds.values[0] < 0
    assert table.eigenvalue.values[0] < -1


def test_a_state_that_agents_start_in_has_no_modes():
    network = linear_network()
    network = Linearization(**{**network.__dict__, "targets": network.outputs})
    with pytest.raises(InvalidSpec, match="start where they will end"):
        modes(network, MIXINGS["cycle"], learning_rate=0.1)


def test_mixing_that_moves_agents_that_agree_is_refused():
    with pytest.raises(IncompatiblePair, match="rows"):
        modes(linear_network(), graphs.column_stochastic(graphs.star(5)), learning_rate=0.1)
