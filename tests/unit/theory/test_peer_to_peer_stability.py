"""Spectra, largest learning rates, minimality and reasons against dense matrices that are written out here."""

import numpy as np
import pytest
import scipy.linalg

from consilience import graphs
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory.peer_to_peer import Linearization
from consilience.theory.peer_to_peer.coordinates import coordinates
from consilience.theory.peer_to_peer.spectra import spectrum as spectrum_module
from consilience.theory.peer_to_peer.spectra.influence import influence
from consilience.theory.peer_to_peer.spectra.learning_rates import largest_learning_rate, own_curvatures
from consilience.theory.peer_to_peer.spectra.minimality import minimality
from consilience.theory.peer_to_peer.spectra.spectrum import RoundMap, outermost, spectral_radius
from consilience.theory.peer_to_peer.spectra.stability import stability

ALGORITHMS = ("dgd", "atc", "cta")
SIZES = (3, 4, 5, 2, 6)
DIRECTED = [[0, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0]]
CHAIN = graphs.from_matrix([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]])
TWO_PAIRS = graphs.from_matrix(np.kron(np.eye(2), np.full((2, 2), 0.5)))
MIXINGS = {
    "cycle": graphs.metropolis(graphs.cycle(5)),  # has negative eigenvalues, so that ATC has no closed form
    "star": graphs.metropolis(graphs.star(5)),
    "complete": graphs.uniform(5),
    "directed": graphs.row_stochastic(graphs.from_adjacency(DIRECTED)),
    "column-stochastic": graphs.column_stochastic(graphs.from_adjacency(DIRECTED)),
}


def linear_network(sizes=SIZES, dimension=8, seed=0, columns=1):
    """A model that is linear in its parameters: features x, one kernel for all outputs."""
    random = np.random.default_rng(seed)
    scale = np.repeat(1 + random.random(len(sizes)), sizes)
    features = scale[:, None] * random.normal(size=(sum(sizes), dimension)) / np.sqrt(dimension)
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


def dense_round(network, mixing, algorithm, rate, decay=0.0):
    """A in orthonormal coordinates, and blockdiag(Φ_q), from their definitions."""
    values, vectors = np.linalg.eigh(network.kernel)
    kept = values > 1e-12 * values[-1]
    features = vectors[:, kept] * np.sqrt(values[kept])
    rank = kept.sum()
    observed = scipy.linalg.block_diag(*[features[rows] for rows in network.shards])
    own = scipy.linalg.block_diag(*[features[rows].T @ features[rows] / len(features[rows]) for rows in network.shards])
    identity = np.eye(len(own))
    step = identity - rate * (own + 2 * decay * identity)
    mix = np.kron(mixing.weights, np.eye(rank))
    return {"dgd": mix + step - identity, "atc": mix @ step, "cta": step @ mix}[algorithm], observed, mix


def dense_radius(*arguments):
    return np.abs(np.linalg.eigvals(dense_round(*arguments)[0])).max()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", MIXINGS)
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_largest_rate_is_where_the_spectral_radius_leaves_one(name, algorithm, decay):
    network, mixing = linear_network(), MIXINGS[name]
    limit = largest_learning_rate(coordinates(network), mixing, algorithm=algorithm, weight_decay=decay)
    below = [
        dense_radius(network, mixing, algorithm, limit.value * share, decay) for share in np.linspace(0.05, 0.999, 12)
    ]
    assert max(below) <= 1 + 1e-12  # rounding of eigenvalues; on disconnected graphs it would be 1
    # searched rates are good to 1e-6 and the radius grows by at most twice that; closed forms to rounding
    assert dense_radius(network, mixing, algorithm, limit.value, decay) == pytest.approx(1, abs=3e-6)
    assert dense_radius(network, mixing, algorithm, limit.value * 1.001, decay) > 1 + 1e-4
    is_closed = mixing.is_symmetric and (algorithm == "dgd" or mixing.eigenvalues[0] > -1e-9)
    assert ("closed form" in limit.method) == is_closed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_identical_shards_give_the_limits_of_single_modes(algorithm):
    """λ = w − ηh or w(1 − ηh): the first to leave is that of the largest h, with the smallest w, or the largest |w|."""
    network = linear_network((4,) * 5)
    features = np.tile(np.random.default_rng(1).normal(size=(4, 7)), (5, 1))
    network = Linearization(**{**network.__dict__, "gram": features @ features.T})
    top = np.linalg.eigvalsh(network.kernel[:4, :4])[-1] / 4
    mixing = MIXINGS["cycle"]
    expected = (1 + mixing.eigenvalues[0]) / top if algorithm == "dgd" else 2 / top
    found = largest_learning_rate(coordinates(network), mixing, algorithm=algorithm)
    assert found.value == pytest.approx(expected, rel=2e-6)  # the precision of a search


@pytest.mark.parametrize("coupling", [0.5, 3.0, 30.0])
def test_coupling_of_equation_2_has_its_own_limit(coupling):
    network, graph = linear_network(), graphs.star(5)

    def mixing_of(rate):
        return graphs.diffusive(graph, learning_rate=rate, coupling=coupling)

    pull = coupling / 5 * graph.laplacian
    own, observed, _ = dense_round(network, graphs.uniform(5), "dgd", 1.0)
    rank = len(own) // 5
    curvature = scipy.linalg.block_diag(
        *[(b := observed[rows, q * rank : (q + 1) * rank]).T @ b / len(b) for q, rows in enumerate(network.shards)]
    )
    exact = 2 / np.linalg.eigvalsh(np.kron(pull, np.eye(rank)) + curvature)[-1]
    found = largest_learning_rate(coordinates(network), mixing_of, algorithm="dgd")
    assert found.value == pytest.approx(exact, rel=1e-9)  # ARPACK or LAPACK, to rounding
    for algorithm in ("atc", "cta"):
        limit = largest_learning_rate(coordinates(network), mixing_of, algorithm=algorithm).value
        assert dense_radius(network, mixing_of(limit * 0.999), algorithm, limit * 0.999) <= 1 + 1e-12
        assert dense_radius(network, mixing_of(limit * 1.001), algorithm, limit * 1.001) > 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["cycle", pytest.param("directed", marks=pytest.mark.slow)])
def test_large_maps_by_arnoldi_and_the_resolvent(name, algorithm, monkeypatch):
    network, mixing = linear_network((10,) * 5, dimension=30), MIXINGS[name]
    limit = largest_learning_rate(coordinates(network), mixing, algorithm=algorithm).value
    monkeypatch.setattr(spectrum_module, "LARGEST_SYMMETRIC", 10)
    monkeypatch.setattr(spectrum_module, "LARGEST_GENERAL", 10)
    for share, decay in ((0.97, 0.0), (1.05, 0.0), (0.5, 0.1)):
        arguments = (network, mixing, algorithm, limit * share, decay)
        round_map = RoundMap(coordinates(network, weight_decay=decay), mixing.weights, *arguments[2:])
        found = outermost(round_map)
        assert "Arnoldi" in found.method
        assert found.radius == pytest.approx(dense_radius(*arguments), abs=1e-7)  # residuals of 1e-8, not normal
        assert (spectral_radius(round_map) > 1) == (share > 1)
        for value, vector in zip(found.values[:3], found.vectors[:3], strict=True):
            image = round_map.apply(vector.real) + 1j * round_map.apply(vector.imag)
            assert np.linalg.norm(image - value * vector) < 1e-5  # eigenvectors: the root of their eigenvalues' error


def test_large_maps_are_searched_by_arnoldi(monkeypatch):
    space, mixing = coordinates(linear_network((6,) * 5, dimension=12)), MIXINGS["directed"]
    exact = largest_learning_rate(space, mixing, algorithm="cta", weight_decay=0.1).value
    monkeypatch.setattr(spectrum_module, "LARGEST_GENERAL", 10)
    found = largest_learning_rate(space, mixing, algorithm="cta", weight_decay=0.1)
    assert found.value == pytest.approx(exact, rel=2e-6)  # both are searched to 1e-6
    assert "searched" in found.method


def test_large_kernels_by_arpack(monkeypatch):
    network = linear_network()
    exact = {name: largest_learning_rate(coordinates(network), w, algorithm="dgd").value for name, w in MIXINGS.items()}
    curvatures = own_curvatures(network)
    monkeypatch.setattr("consilience.theory.peer_to_peer.spectra.learning_rates._DENSE_ROWS", 3)
    for name, mixing in MIXINGS.items():
        found = largest_learning_rate(coordinates(network), mixing, algorithm="dgd").value
        assert found == pytest.approx(exact[name], rel=1e-6)  # searched ones to 1e-6
    np.testing.assert_allclose(own_curvatures(network)[[0, 1, 2, 4]], curvatures[[0, 1, 2, 4]], rtol=1e-10)


def reachable(matrix, inputs):
    """An orthonormal basis of what the columns of `inputs` reach."""
    basis = scipy.linalg.orth(inputs, rcond=1e-9)
    while True:
        larger = scipy.linalg.orth(np.hstack([basis, matrix @ basis / np.linalg.norm(matrix)]), rcond=1e-8)
        if larger.shape[1] == basis.shape[1]:
            return basis
        basis = larger


def flow_system(network, mixing, algorithm, rate):
    """(A, B, C) of the gradient flow."""
    round_matrix, outputs, mix = dense_round(network, mixing, algorithm, rate)
    inputs = outputs.T / np.repeat(network.sizes, network.sizes)
    inputs, outputs = mix @ inputs if algorithm == "atc" else inputs, outputs @ mix if algorithm == "cta" else outputs
    return (np.eye(len(mix)) - round_matrix) / rate, inputs, outputs


DISAGREEMENT = np.eye(4) - graphs.metropolis(graphs.path(4)).weights
FOUR_AGENTS = {
    "cycle": graphs.metropolis(graphs.cycle(4)),
    "star": graphs.metropolis(graphs.star(4)),
    "path": graphs.metropolis(graphs.path(4)),
    "uniform": graphs.uniform(4),
    "isolated": graphs.from_matrix(np.eye(4)),
    "directed cycle": graphs.row_stochastic(graphs.cycle(4, directed=True)),
    "chain": CHAIN,
    "reversed chain": graphs.from_matrix(CHAIN.weights.T),
    "pairs": TWO_PAIRS,
    "driven apart": graphs.from_matrix(np.eye(4) + 0.3 * DISAGREEMENT),
    "overshooting": graphs.from_matrix(np.eye(4) - 2 * DISAGREEMENT),
}


@pytest.mark.parametrize("name", FOUR_AGENTS)
@pytest.mark.parametrize("dimension", [3, 5, 20])  # 8 samples: fewer directions than samples, and as many
def test_minimality_and_bibo_against_kalmans_decomposition(name, dimension):
    network, mixing = linear_network((2, 3, 1, 2), dimension), FOUR_AGENTS[name]
    for algorithm in ALGORITHMS:
        matrix, inputs, outputs = flow_system(network, mixing, algorithm, 1.0)
        reached = reachable(matrix, inputs)
        shown = reachable(matrix.T, outputs.T)
        found = minimality(network, mixing, algorithm=algorithm)
        assert found.num_modes == len(matrix)
        assert found.num_unreachable == len(matrix) - reached.shape[1]
        assert found.num_unobservable == len(matrix) - shown.shape[1]
        within = reached.T @ matrix @ reached
        both = reachable(within.T, (outputs @ reached).T)
        slowest = np.linalg.eigvals(both.T @ within @ both).real.min()
        answer = stability(network, mixing, algorithm=algorithm, learning_rate=1.0)
        assert answer.bibo_stable == (slowest > 1e-9)  # poles at 0 would be 1e-12, others are 1e-3 at least
        assert answer.is_minimal == (found.num_unreachable == found.num_unobservable == 0)


def test_proposition_1_needs_weights_that_are_not_negative():
    """Doubly stochastic by its sums and minimal, but mixing drives agents apart."""
    network = linear_network((2, 3, 1, 2), 20)
    answer = stability(network, FOUR_AGENTS["driven apart"], learning_rate=0.1)
    assert (answer.doubly_stochastic, answer.is_minimal, answer.bibo_stable) == (True, True, False)
    assert any("negative weights" in reason for reason in answer.reasons)


def test_hidden_modes_name_their_agents():
    """On a path of three, w = 1/3 · 2 belongs to x = (1, 0, −1): the middle agent's data do not meet it."""
    found = minimality(linear_network((1, 2, 1), 10), graphs.metropolis(graphs.path(3)))
    assert [(round(h.eigenvalue.real, 9), h.agents, h.num_unreachable) for h in found.hidden] == [
        (round(2 / 3, 9), (0, 2), 2)
    ]


def test_modes_that_stay_are_counted_and_do_not_make_it_unstable():
    network = linear_network((2, 3, 1, 2), 20)
    for name, mixing in (("pairs", TWO_PAIRS), ("chain", CHAIN), ("isolated", FOUR_AGENTS["isolated"])):
        answer = stability(network, mixing, learning_rate=0.1)
        values = np.linalg.eigvals(dense_round(network, mixing, "dgd", 0.1)[0])
        assert answer.is_stable
        assert answer.spectral_radius == pytest.approx(1, abs=1e-12)  # rounding
        assert answer.num_staying == (np.abs(values - 1) < 1e-9).sum(), name
        assert any("eigenvalue 1" in reason for reason in answer.reasons)
    assert stability(network, TWO_PAIRS, learning_rate=0.1, weight_decay=0.01).num_staying == 0
    assert stability(network, FOUR_AGENTS["path"], learning_rate=0.1).num_staying == 0


def test_data_count_as_influence_says_at_small_rates():
    """The fixed point of DGD tends to the minimum of Σ p_q L_q, in an under-parameterised model."""
    network, mixing = linear_network((6,) * 5, 4), MIXINGS["directed"]
    space, rate = coordinates(network), 1e-5
    features, weights = space.features, influence(mixing).weights
    assert weights.sum() == pytest.approx(1)
    matrix = dense_round(network, mixing, "dgd", rate)[0]
    round_map = RoundMap(space, mixing.weights, "dgd", rate)
    matrix = round_map.apply(np.eye(space.size))
    force = -rate * np.concatenate([space.force(q)[:, 0] for q in range(5)])
    fixed = np.linalg.solve(np.eye(len(matrix)) - matrix, force).reshape(5, -1)
    row_weights = np.repeat(weights / network.sizes, network.sizes)
    minimum = np.linalg.solve(
        features.T @ (row_weights[:, None] * features), features.T @ (row_weights * network.targets[:, 0])
    )
    fair = np.linalg.lstsq(features, network.targets[:, 0])[0]
    # agents are η · gradients / gap off it, with gradients of order one: 1e-4 at most
    np.testing.assert_allclose(fixed, np.tile(minimum, (5, 1)), atol=1e-4)
    assert np.abs(fair - minimum).max() > 0.05


def test_influence_of_groups_and_followers():
    found = influence(CHAIN)
    assert (found.groups, found.followers, found.weights.tolist()) == (((0,),), (1, 2, 3), [1, 0, 0, 0])
    found = influence(TWO_PAIRS)
    assert found.groups == ((0, 1), (2, 3))
    assert not found.is_connected
    np.testing.assert_allclose(found.weights, 0.5)
    absorbing = influence(graphs.from_matrix(CHAIN.weights.T))
    assert (absorbing.groups, absorbing.followers) == (((0,),), (1, 2, 3))


def reasons(mixing, rate=0.1, **options):
    network = linear_network((2, 3, 1, 2), 20) if mixing.num_agents == 4 else linear_network()
    answer = stability(network, mixing, learning_rate=rate, **options)
    assert all(reason in str(answer) for reason in answer.reasons)
    return " ".join(answer.reasons), answer


def test_reasons_explain_instead_of_refusing():
    said, answer = reasons(graphs.row_stochastic(graphs.star(4)))
    assert "Column 0 of W sums to 1.75" in said
    assert "agent 0 count 0.4 and those of agent 3 0.2" in said or "agent 0 count 0.4 and those of agent 1 0.2" in said
    assert not answer.doubly_stochastic
    assert "not connected: 2 groups listen to nobody outside (agents 0 and 1; agents 2 and 3)" in reasons(TWO_PAIRS)[0]
    assert "agents 1 to 3, who follow but are not heard" in reasons(CHAIN)[0]
    assert "Rows" not in reasons(CHAIN)[0]
    assert "Row 0 of W sums to 1.75" in reasons(graphs.column_stochastic(graphs.star(4)))[0]
    said, answer = reasons(FOUR_AGENTS["driven apart"])
    assert "Mixing alone diverges" in said
    assert (answer.largest_learning_rate, answer.is_stable) == (0.0, False)
    assert "24 of 32 modes" not in said
    assert reasons(FOUR_AGENTS["path"])[0] == ""


def test_reasons_name_the_mode_beyond_the_limit():
    said, answer = reasons(MIXINGS["cycle"], 1.5)
    assert not answer.is_stable
    assert f"{1.5 / answer.largest_learning_rate:.3g} times the largest stable one" in said
    assert "period two" in said
    assert answer.limited_by in said
    assert "agent" in answer.limited_by
    sharp = linear_network((3, 3, 3), 20)
    gram = sharp.gram * np.outer(scale := np.repeat([1, 1, 10.0], 3), scale)
    sharp = Linearization(**{**sharp.__dict__, "gram": gram})
    alone = stability(sharp, graphs.lazy(graphs.metropolis(graphs.path(3))), learning_rate=0.001)
    assert "agent 2 alone" in alone.limited_by
    assert f"own curvature is {own_curvatures(sharp)[2]:.4g}" in alone.limited_by


def test_a_mode_that_mixing_flips_for_ever_leaves_no_stable_rate():
    swap = graphs.from_matrix([[0.0, 1.0], [1.0, 0.0]])
    network = linear_network((2, 2), 10)
    answer = stability(network, swap, learning_rate=0.01)
    assert (answer.largest_learning_rate, answer.is_stable) == (0.0, False)
    assert any("eigenvalue -1" in reason for reason in answer.reasons)
    assert stability(network, swap, algorithm="atc", learning_rate=0.01).is_stable
    shift = graphs.from_matrix(np.roll(np.eye(4), 1, axis=0))  # eigenvalues ±i: any step leads out
    assert stability(linear_network((2, 3, 1, 2), 20), shift, learning_rate=0.01).largest_learning_rate == 0


def test_mixing_may_be_left_out_for_a_family():
    network = linear_network()
    answer = stability(
        network,
        learning_rate=0.1,
        mixing_of=lambda rate: graphs.diffusive(graphs.star(5), learning_rate=rate, coupling=3),
    )
    assert answer.mixing.name == "diffusive(star(5), learning_rate=0.1, coupling=3)"
    assert answer.is_stable


def test_what_cannot_be():
    network = linear_network()
    with pytest.raises(UnknownName, match="atc"):
        stability(network, MIXINGS["cycle"], algorithm="act", learning_rate=0.1)
    with pytest.raises(InvalidSpec, match="learning_rate=-1"):
        stability(network, MIXINGS["cycle"], learning_rate=-1)
    with pytest.raises(InvalidSpec, match="mixing is None"):
        stability(network, learning_rate=0.1)
    with pytest.raises(IncompatiblePair, match="for 4 agents"):
        stability(network, graphs.uniform(4), learning_rate=0.1)
    with pytest.raises(IncompatiblePair, match="mixing_of"):
        stability(network, MIXINGS["cycle"], learning_rate=0.1, mixing_of=lambda rate: MIXINGS["star"])
    with pytest.raises(UnknownName, match="dgd"):
        minimality(network, MIXINGS["cycle"], algorithm="sgd")
