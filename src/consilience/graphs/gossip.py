"""Mixing that changes from round to round: who averages with whom is drawn, or takes turns.

Each is a schedule of mixing, W(t), for any method that averages: `Schedules(mixing=RandomPairs(graph))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from consilience.errors import IncompatiblePair
from consilience.graphs.arguments import count_of_agents, read_only, real_number, whole_number
from consilience.graphs.graph import Graph
from consilience.graphs.schedules import Schedule
from consilience.graphs.triggers import check_schedule
from consilience.randomness import Purpose, check_seed, key

if TYPE_CHECKING:
    import jax

_GAP = 1e-6
"""How far λ₂ may be from its optimum; linear programmes are solved to 1e-7."""
_MAX_CUTS = 500
"""Rounds of cutting planes; ten to fifty are usual."""


@dataclass(frozen=True)
class RandomPairs:
    """Random pairwise gossip: in each round disjoint pairs of neighbours meet and take the mean of the two.

    The links come in a random order, and each is taken if both of its agents are still free: without `num_pairs` until
    nobody is left who could meet anybody, which on the complete graph is a random perfect matching.

    Update rule:
        θ_i, θ_j ← (θ_i + θ_j)/2 for the pairs (i, j) that meet; W(t) = I − ½ Σ_{pairs} (e_i − e_j)(e_i − e_j)ᵀ
    Reduces to:
        no mixing at probability = 0; `OnePeerExponential` for two agents.
    Cost:
        two messages of the size of the model per pair that meets.
    Assumes:
        an undirected graph.
    Known limits:
        W(t) is doubly stochastic, symmetric and a projection, so E[WᵀW] = E[W], and the mean squared distance of
        agents from their mean shrinks by λ₂(E[W]) per round at least. A single pair (`num_pairs` = 1) is a link drawn
        uniformly, E[W] = I − p L/(2 |E|); the paper draws an agent first, and then a neighbour of it, which is the same
        on regular graphs.
    Source:
        S. Boyd, A. Ghosh, B. Prabhakar and D. Shah, Randomized gossip algorithms, IEEE Transactions on Information
        Theory 52 (2006) [boyd2006], where a single pair meets at a time.

    Attributes:
        graph: who may meet whom; weights do not count.
        num_pairs: pairs that are drawn per round at most; `None` draws as many as fit.
        probability: p, the chance that a pair that was drawn meets.
        seed: of the draws, independent of the run's seed.

    Raises:
        IncompatiblePair: if the graph is directed.
        InvalidSpec: if `num_pairs` or `probability` is out of range.

    Example:
        >>> import consilience.graphs as graphs
        >>> RandomPairs(graphs.complete(2))(0).tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """

    graph: Graph
    num_pairs: int | None = None
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_undirected(self, self.graph)
        check_seed(self.seed)
        real_number("probability", self.probability, low=0.0, high=1.0, reason="it is the chance that a pair meets.")
        if self.num_pairs is not None:
            whole_number("num_pairs", self.num_pairs, at_least=1, reason="it counts the pairs that meet in a round.")

    @cached_property
    def _links(self) -> NDArray[np.int64]:
        """All links, shape (links, 2)."""
        return np.argwhere(np.triu(self.graph.adjacency != 0))

    def meetings(self, round: Any) -> jax.Array:
        """Shape (agents, agents), bool: who meets whom in `round`."""
        import jax
        import jax.numpy as jnp

        n, num_links = self.graph.num_agents, len(self._links)
        of_order, of_coins = jax.random.split(key(self.seed, Purpose.SCHEDULE, round))
        drawn = jax.random.permutation(of_order, jnp.arange(num_links, dtype=jnp.int32))
        rows, columns = self._links.T
        # Place of each link in the order; a link that is not there comes after all others.
        place = jnp.full((n, n), num_links, jnp.int32).at[rows, columns].set(drawn).at[columns, rows].set(drawn)
        agents = jnp.arange(n)

        def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            # A link that is first for both of its agents is taken, whatever becomes of the others.
            pairs, free = state
            open_ = jnp.where(free[:, None] & free[None, :], place, num_links)
            first = open_.argmin(axis=1)
            taken = (open_.min(axis=1) < num_links) & (first[first] == agents)
            return pairs.at[agents, first].max(taken), free & ~taken

        def goes_on(state: tuple[jax.Array, jax.Array]) -> jax.Array:
            _, free = state
            return ((place < num_links) & free[:, None] & free[None, :]).any()

        pairs, _ = jax.lax.while_loop(goes_on, step, (jnp.zeros((n, n), bool), jnp.ones(n, bool)))
        if self.num_pairs is not None:
            places = jnp.sort(jnp.where(jnp.triu(pairs), place, num_links).ravel())
            pairs = pairs & (place <= places[min(self.num_pairs, n * n) - 1])
        # Drawn in single precision, so that runs in either precision see the same meetings.
        coins = jnp.triu(jax.random.uniform(of_coins, (n, n), jnp.float32) < self.probability)
        return pairs & (coins | coins.T)

    def __call__(self, round: Any) -> jax.Array:
        """Shape (agents, agents): W(t)."""
        import jax.numpy as jnp

        meet = self.meetings(round).astype(jnp.result_type(float)) / 2
        return meet + jnp.eye(self.graph.num_agents, dtype=meet.dtype) - jnp.diag(meet.sum(axis=1))


@dataclass(frozen=True)
class Matchings:
    """MATCHA: the links are divided into matchings, and each matching works in a round with a probability of its own.

    Links of one matching have no agent in common and can work at the same time, so that a round in which k matchings
    work lasts k units. Plain decentralised SGD uses all M of them; MATCHA spends the fraction `budget` of that, on
    average, and spends it where the graph would fall apart otherwise.

    Update rule:
        W(t) = I − α Σ_m B_m(t) L_m, with B_m(t) ∈ {0, 1} and P(B_m = 1) = p_m; p maximises λ₂(Σ_m p_m L_m) under
        Σ_m p_m ≤ budget · M, and α minimises ‖E[WᵀW] − 11ᵀ/N‖
    Reduces to:
        the constant matrix I − αL at budget = 1; no mixing at budget = 0.
    Cost:
        two messages of the size of the model per link that works: budget · M matchings on average.
    Assumes:
        an undirected graph.
    Known limits:
        the graph is divided by a greedy colouring of its links (networkx, by saturation), which may take more
        matchings than the ∆ + 1 of the paper's Misra–Gries colouring. Probabilities are found by cutting planes
        where the paper solves a semidefinite programme: the same optimum. W(t) is doubly stochastic; weights on the
        diagonal may be negative where all matchings of an agent work at once.
    Source:
        J. Wang, A. K. Sahu, Z. Yang, G. Joshi and S. Kar, MATCHA: speeding up decentralized SGD via matching
        decomposition sampling, Indian Control Conference 2019 [wang2019m]; both optimisations are those of the
        authors' published code.

    Attributes:
        graph: the base graph; weights do not count.
        budget: c_b in [0, 1], the mean share of matchings that work.
        optimised: whether probabilities are optimised; p_m = budget for all otherwise.
        seed: of the draws, independent of the run's seed.

    Raises:
        IncompatiblePair: if the graph is directed.
        InvalidSpec: if the budget is out of range.

    Example:
        >>> import networkx as nx, consilience.graphs as graphs
        >>> triangles = graphs.from_networkx(nx.barbell_graph(3, 0))   # two triangles and a bridge between 2 and 3
        >>> matcha = Matchings(triangles, budget=0.5)
        >>> [round(float(p), 2) for p, l in zip(matcha.probabilities, matcha.laplacians) if l[2, 3]]
        [0.69]
    """

    graph: Graph
    budget: float
    optimised: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check_undirected(self, self.graph)
        check_seed(self.seed)
        real_number("budget", self.budget, low=0.0, high=1.0, reason="it is the share of matchings that work.")

    @cached_property
    def laplacians(self) -> NDArray[np.float64]:
        """L_m of the matchings, each link of weight 1; shape (matchings, agents, agents)."""
        links = nx.from_numpy_array(self.graph.adjacency)
        colours = nx.greedy_color(nx.line_graph(links), strategy="saturation_largest_first")
        n = self.graph.num_agents
        adjacency = np.zeros((1 + max(colours.values(), default=-1), n, n))
        for (i, j), colour in colours.items():
            adjacency[colour, i, j] = adjacency[colour, j, i] = 1
        return read_only(np.eye(n) * adjacency.sum(axis=2)[:, :, None] - adjacency)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """p_m of the matchings, shape (matchings,)."""
        uniform = np.full(len(self.laplacians), float(self.budget))
        if not self.optimised or self.budget in (0, 1) or len(uniform) < 2:
            return read_only(uniform)
        return read_only(_best_probabilities(self.laplacians, uniform))

    @cached_property
    def weight(self) -> float:
        """α, the weight that agents of a link that works give to each other."""
        # Beyond α = 1 a single link already overshoots.
        found: Any = scipy.optimize.minimize_scalar(self._contraction, bounds=(0, 1), options={"xatol": 1e-12})
        return float(found.x)

    @property
    def contraction(self) -> float:
        """ρ = ‖E[WᵀW] − 11ᵀ/N‖: the agents' mean squared distance from their mean shrinks by it per round at least."""
        return self._contraction(self.weight)

    @property
    def expected(self) -> NDArray[np.float64]:
        """E[W], shape (agents, agents)."""
        return np.eye(self.graph.num_agents) - self.weight * np.tensordot(self.probabilities, self.laplacians, 1)

    def _contraction(self, weight: float) -> float:
        n, p = self.graph.num_agents, self.probabilities
        mean = np.tensordot(p, self.laplacians, 1)
        # Matchings are independent, and L² = 2L for a matching.
        second_moment = mean @ mean + 2 * np.tensordot(p * (1 - p), self.laplacians, 1)
        square = np.eye(n) - 2 * weight * mean + weight**2 * second_moment
        return float(np.abs(scipy.linalg.eigvalsh(square - np.full((n, n), 1 / n))).max())

    def __call__(self, round: Any) -> jax.Array:
        """Shape (agents, agents): W(t)."""
        import jax
        import jax.numpy as jnp

        dtype = jnp.result_type(float)
        coins = jax.random.uniform(key(self.seed, Purpose.SCHEDULE, round), self.probabilities.shape, jnp.float32)
        works = (coins < jnp.asarray(self.probabilities, jnp.float32)).astype(dtype)
        laplacian = jnp.tensordot(works, jnp.asarray(self.laplacians, dtype), 1)
        return jnp.eye(self.graph.num_agents, dtype=dtype) - jnp.asarray(self.weight, dtype) * laplacian


@dataclass(frozen=True)
class OnePeerExponential:
    """The one-peer exponential graph: in round t agent i averages with agent i + 2^(t mod τ), τ = ⌈log₂ N⌉.

    Update rule:
        θ_i ← (θ_i + θ_j)/2 with j = i + 2^(t mod τ) mod N
    Reduces to:
        the mean of all agents after τ rounds if N is a power of 2; no mixing for a single agent.
    Cost:
        one message of the size of the model sent, and one received, per agent and round.
    Assumes:
        links to the agents at distances 1, 2, 4, …: `graphs.exponential(N)` or the complete graph.
    Known limits:
        W(t) is doubly stochastic, but not symmetric. If N is no power of 2 the agents come close to their mean and do
        not reach it.
    Source:
        B. Ying et al., Exponential graph is provably efficient for decentralized deep training, NeurIPS 2021
        [ying2021].

    Attributes:
        num_agents: N.

    Raises:
        InvalidSpec: if there is not one agent at least.

    Example:
        >>> OnePeerExponential(4)(1)[0].tolist()   # agent 0 and the agent two further
        [0.5, 0.0, 0.5, 0.0]
    """

    num_agents: int

    def __post_init__(self) -> None:
        count_of_agents(self.num_agents)

    def __call__(self, round: Any) -> jax.Array:
        """Shape (agents, agents): W(t)."""
        import jax.numpy as jnp

        itself = jnp.eye(self.num_agents, dtype=jnp.result_type(float))
        period = max(1, (self.num_agents - 1).bit_length())
        distance = 2 ** (jnp.asarray(round) % period)
        return (itself + jnp.roll(itself, distance, axis=1)) / 2


@dataclass(frozen=True)
class Merge:
    """A single merge: in one round all agents take the mean of all; in the others they mix as another schedule says.

    Update rule:
        W(t) = 11ᵀ/N in round `at_round`, and that of the schedule `mixing` in all others
    Reduces to:
        the schedule `mixing` up to the merge; one-shot averaging without a schedule.
    Cost:
        that of `mixing`, and N(N − 1) messages once.
    Assumes:
        the complete graph in the round of the merge: give the simulator `graphs.complete(N)`, and `mixing` the sparse
        one.
    Known limits:
        averaging helps only agents that are in one basin: those that start from common parameters, or have met. The
        paper spends its budget of messages late, `mixing=Late(...)`.
    Source:
        T. Zhu et al., A single merging suffices: recovering server-based learning performance in decentralized
        learning, 2025 [zhu2025].

    Attributes:
        at_round: the round of the merge, from 0; `num_rounds` − 1 merges at the end.
        num_agents: N.
        mixing: a schedule of mixing for the other rounds; `None` keeps agents to themselves.

    Raises:
        InvalidSpec: if `at_round` is no whole number from 0, or `mixing` no schedule.

    Example:
        >>> [Merge(at_round=1, num_agents=2)(round).tolist() for round in (0, 1)]
        [[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]
    """

    at_round: int
    num_agents: int
    mixing: Schedule | None = None

    def __post_init__(self) -> None:
        count_of_agents(self.num_agents)
        whole_number("at_round", self.at_round, at_least=0, reason="it is the round in which all agents are averaged.")
        check_schedule(self, self.mixing)

    def __call__(self, round: Any) -> jax.Array:
        """Shape (agents, agents): W(t)."""
        import jax.numpy as jnp

        n, dtype = self.num_agents, jnp.result_type(float)
        before = jnp.eye(n, dtype=dtype) if self.mixing is None else jnp.asarray(self.mixing(round), dtype)
        return jnp.where(jnp.asarray(round) == self.at_round, jnp.full((n, n), 1 / n, dtype), before)


def _check_undirected(owner: object, graph: Graph) -> None:
    if graph.directed:
        raise IncompatiblePair(
            f"{type(owner).__name__} cannot run on {graph.name!r}, which is directed: two agents that meet take the "
            "mean of the two, so both must listen. Use an undirected graph, graphs.cycle(n), say, or "
            "graphs.OnePeerExponential(n), which is made for directed links."
        )


def _best_probabilities(laplacians: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p in [0, 1]^M with the sum of `start` that maximises λ₂(Σ_m p_m L_m).

    λ₂ is the minimum of vᵀ L(p) v over unit vectors v ⟂ 1, each of which bounds it by a linear function of p: a linear
    programme maximises the lowest bound, and its solution adds the eigenvectors there as new bounds, until both agree.
    """
    num_matchings, n, _ = laplacians.shape
    best, best_value, cuts = start, -np.inf, []
    trial = start
    for _ in range(_MAX_CUTS):
        values, vectors = scipy.linalg.eigh(np.tensordot(trial, laplacians, 1) + np.full((n, n), n))
        values, vectors = values[:-1], vectors[:, :-1]  # the last one is 1, lifted above all others
        if values[0] > best_value:
            best, best_value = trial, values[0]
        cuts.append(np.einsum("ik,mij,jk->km", vectors, laplacians, vectors))
        slopes = np.concatenate(cuts)
        programme = scipy.optimize.linprog(
            np.append(np.zeros(num_matchings), -1.0),
            A_ub=np.hstack([-slopes, np.ones((len(slopes), 1))]),
            b_ub=np.zeros(len(slopes)),
            A_eq=np.append(np.ones(num_matchings), 0.0)[None],
            b_eq=[start.sum()],
            bounds=[*[(0, 1)] * num_matchings, (0, None)],
        )
        trial, bound = programme.x[:-1], programme.x[-1]
        if bound <= best_value * (1 + _GAP):
            break
    return np.clip(best, 0.0, 1.0)
