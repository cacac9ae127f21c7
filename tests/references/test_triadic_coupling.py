"""The update rule of triadic coupling, written out in NumPy with loops over all triples, against the simulator.

The loops are over ordered pairs of neighbours (j, k), as the rule is written; the package sums T_ij (θ_j − θ_i), takes
distances from a Gram matrix, and reads the weights of triads from the mixing matrix.
"""

from __future__ import annotations

import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms import TriadicCoupling
from consilience.graphs import Graph
from registries import ROUNDING, final_params, small_problem, weighted_star

Params = dict[str, np.ndarray]

ETA, SIGMA, TAU, LAMBDA, GAMMA, ROUNDS = 0.1, 1.5, 3.0, 0.7, 0.02, 5
PROBLEM = small_problem(5)


def random_directed(num_agents: int, seed: int = 0) -> Graph:
    """Agents listen to different numbers of others, with weights of their own, and rarely are listened to by them."""
    random = np.random.default_rng(seed)
    q = random.uniform(0.2, 2.0, size=(num_agents, num_agents)) * (random.random((num_agents, num_agents)) < 0.7)
    np.fill_diagonal(q, 0)
    return graphs.from_adjacency(q, name="random, directed")


GRAPHS = [graphs.complete(5), weighted_star(5), random_directed(5)]
on_every_graph = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


def triadic_pull(agents: list[Params], q: np.ndarray, selectivity: float) -> list[Params]:
    """Σ_{j≠k} q_ij q_ik κ_jk ((θ_j + θ_k)/2 − θ_i) for every agent i."""
    everyone = range(len(agents))
    num_parameters = sum(leaf.size for leaf in agents[0].values())
    pulls = [{name: np.zeros_like(leaf) for name, leaf in one.items()} for one in agents]
    for i in everyone:
        for j in everyone:
            for k in everyone:
                if j == k:
                    continue
                apart = sum(float(((agents[j][name] - agents[k][name]) ** 2).sum()) for name in agents[j])
                strength = q[i, j] * q[i, k] * np.exp(-selectivity * apart / num_parameters)
                for name in agents[i]:
                    pulls[i][name] += strength * ((agents[j][name] + agents[k][name]) / 2 - agents[i][name])
    return pulls


def one_round(agents: list[Params], q: np.ndarray, batches: list[np.ndarray]) -> list[Params]:
    """Gradient, pairs and triads, all at the parameters before the step."""
    num_agents = len(agents)
    triads, after = triadic_pull(agents, q, LAMBDA), []
    for i, own in enumerate(agents):
        gradient = PROBLEM.gradient(own, batches[i], weight_decay=GAMMA)
        new = {}
        for name, leaf in own.items():
            pairs = sum(q[i, j] * (agents[j][name] - leaf) for j in range(num_agents))
            pull = SIGMA / num_agents * pairs + TAU / num_agents**2 * triads[i][name]
            new[name] = leaf - ETA * gradient[name] + ETA * pull
        after.append(new)
    return after


@on_every_graph
def test_triadic_coupling_is_its_update_rule(graph: Graph) -> None:
    batches = [list(of_round[:, 0]) for of_round in PROBLEM.batches(batch_size=2, num_rounds=ROUNDS)]
    agents = [PROBLEM.initial(agent) for agent in range(5)]
    largest_triads = max(np.abs(pull["weight"]).max() for pull in triadic_pull(agents, graph.adjacency, LAMBDA))
    assert ETA * TAU / 25 * largest_triads > 1e-3, "triads hardly pull, so this proves little"
    for of_round in batches:
        agents = one_round(agents, graph.adjacency, of_round)
    algorithm = TriadicCoupling(ETA, SIGMA, GAMMA, TAU, LAMBDA)
    run = PROBLEM.simulate(algorithm, graph=graph, num_rounds=ROUNDS, batch_size=2)
    for name, leaf in final_params(run).items():
        expected = np.stack([agent[name.removeprefix("params/")] for agent in agents])
        np.testing.assert_allclose(leaf, expected, rtol=ROUNDING, atol=ROUNDING)


# ---- the stability limit -----------------------------------------------------------------------------------------


def spectrum_at_consensus(graph: Graph, coupling: float, triadic_coupling: float) -> np.ndarray:
    """Eigenvalues of −∂(pull)/∂θ at θ = 1, by central differences of the rule with one parameter per agent."""
    num_agents, step = graph.num_agents, 1e-4

    def pull(theta: np.ndarray) -> np.ndarray:
        agents = [{"w": np.array([value])} for value in theta]
        triads = np.array([one["w"][0] for one in triadic_pull(agents, graph.adjacency, LAMBDA)])
        pairs = graph.adjacency @ theta - graph.degrees * theta
        return coupling / num_agents * pairs + triadic_coupling / num_agents**2 * triads

    shifts = step * np.eye(num_agents)
    jacobian = np.stack([(pull(1 + shift) - pull(1 - shift)) / (2 * step) for shift in shifts], axis=1)
    return np.linalg.eigvals(-jacobian)


@on_every_graph
def test_warnings_begin_where_agents_that_agree_become_unstable(graph: Graph) -> None:
    """Agreement is stable if |1 − cμ| < 1 for all eigenvalues μ but that of the common motion; c scales couplings."""
    spectrum = spectrum_at_consensus(graph, SIGMA, TAU)
    relative = spectrum[np.abs(spectrum) > 1e-6]
    assert len(relative) == 4
    critical = (2 * np.real(relative) / np.abs(relative) ** 2).min() / ETA

    def warnings(share: float) -> list[str]:
        scaled = TriadicCoupling(ETA, share * critical * SIGMA, 0.0, share * critical * TAU, LAMBDA)
        return scaled.warnings(graph, scaled.default_mixing(graph))

    # The differences are off by 1e-4 squared at most.
    assert warnings(1 - 1e-5) == []
    (message,) = warnings(1 + 1e-5)
    assert message.endswith("by less than 1.")


def test_the_strongest_of_a_sweep_is_warned_of_and_rates_of_zero_are_not() -> None:
    graph = graphs.complete(5)
    swept = TriadicCoupling(0.5, np.array([0.0, 1.0, 9.0]), triadic_coupling=np.array([0.0, 1.0, 9.0]))
    (message,) = swept.warnings(graph, swept.default_mixing(graph))
    # σ + τ (N − 2)/N = 9 + 27/5 = 14.4 against 2/η = 4.
    assert "coupling=9 and triadic_coupling=9" in message
    assert message.endswith("by less than 0.2778.")
    still = TriadicCoupling(0.0, 1e6, triadic_coupling=1e6)
    assert still.warnings(graph, still.default_mixing(graph)) == []
