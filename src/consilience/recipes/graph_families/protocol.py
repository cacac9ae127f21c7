"""Which graphs are compared, and how the theory is swept on them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from consilience import graphs
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import Sweep
from consilience.graphs import Graph
from consilience.randomness import Purpose, generator

DEGREE = 4
"""⟨k⟩ of every graph."""
_MAX_DRAWS = 20_000


@dataclass(frozen=True)
class Family:
    """Graphs that are drawn alike.

    Attributes:
        code: one or two letters, for points of the figure.
        label: for people.
        draw: (number of agents, seed) → graph, of any weight.
        is_random: whether the seed matters.
    """

    code: str
    label: str
    draw: Callable[[int, int], Graph]
    is_random: bool = True


def _directed(num_agents: int, seed: int) -> Graph:
    """Every agent listens to four others, drawn at random."""
    order = generator(seed, Purpose.GRAPH).random((num_agents, num_agents))
    np.fill_diagonal(order, 2.0)  # behind all others
    heard = order.argsort(axis=1)[:, :DEGREE]
    adjacency = np.zeros((num_agents, num_agents))
    np.put_along_axis(adjacency, heard, 1.0, axis=1)
    return graphs.from_adjacency(adjacency, name=f"directed({num_agents}, seed={seed})")


def _communities(num_agents: int, seed: int) -> Graph:
    """Four blocks; of four neighbours, 3.8 are of the own block on average."""
    size = num_agents // 4
    matrix = np.where(np.eye(4) > 0, 0.95 * DEGREE / (size - 1), 0.05 * DEGREE / (num_agents - size))
    return graphs.stochastic_block([size] * 4, matrix, seed=seed, connected=False)


def _small_world(rewiring: float) -> Callable[[int, int], Graph]:
    return lambda n, seed: graphs.watts_strogatz(n, DEGREE, rewiring=rewiring, seed=seed, connected=False)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "complete": Family("C", "complete", lambda n, seed: graphs.complete(n), is_random=False),
        "exponential": Family("E", "exponential", lambda n, seed: graphs.exponential(n), is_random=False),
        "directed": Family("D", "directed, random", _directed),
        "random_regular": Family(
            "RR", "random regular", lambda n, seed: graphs.random_regular(n, DEGREE, seed=seed, connected=False)
        ),
        "small_world_0.5": Family("S5", "small world, rewiring 0.5", _small_world(0.5)),
        "torus": Family("T", "torus", lambda n, seed: graphs.torus(round(n**0.5), round(n**0.5)), is_random=False),
        "barabasi_albert": Family(
            "BA", "Barabási–Albert", lambda n, seed: graphs.barabasi_albert(n, DEGREE // 2, seed=seed)
        ),
        "erdos_renyi": Family(
            "ER", "Erdős–Rényi", lambda n, seed: graphs.erdos_renyi(n, DEGREE / (n - 1), seed=seed, connected=False)
        ),
        "communities": Family("K", "four communities", _communities),
        "small_world_0.1": Family("S1", "small world, rewiring 0.1", _small_world(0.1)),
        "ring": Family("R", "ring lattice", lambda n, seed: _small_world(0.0)(n, 0), is_random=False),
    }
)
"""All families, roughly from fast to slow agreement."""


def _grid(num_pulls: int) -> tuple[float, ...]:
    return tuple(np.geomspace(0.03, 30, num_pulls).round(6).tolist())


@dataclass(frozen=True)
class GraphFamilies:
    """The protocol.

    Attributes:
        families: names of `FAMILIES`.
        depths: D ≥ 1.
        pulls: σ̂⟨k⟩/N, increasing.
        side: of the torus; N is its square. Even, so that N is made of four equal communities.
        num_graphs: graphs of each random family; families without chance have one, with as many realizations.
        num_realizations: draws of disorder and initial condition for each of these graphs.
        weight_decay: γ̂.
        disorder_std: standard deviation of δ; its mean is 0.
        offset: ε of the initial condition, uniform on [−2 + ε, 2 + ε].
        span: time for which each coupling is integrated.
        average_after: from when on ⟨m⟩ is averaged.
        threshold: level of ⟨m⟩ that defines the critical pull.
        other_thresholds: levels for which the rank correlations are given, too.
        rtol: relative tolerance of the integration.
        atol: absolute tolerance.
        seed: of disorder and initial conditions, and the first of the graphs' seeds.
    """

    families: tuple[str, ...] = tuple(FAMILIES)
    depths: tuple[int, ...] = (1, 2)
    pulls: tuple[float, ...] = _grid(16)
    side: int = 14
    num_graphs: int = 4
    num_realizations: int = 25
    weight_decay: float = 1e-3
    disorder_std: float = 2.0
    offset: float = 0.4
    span: float = 20.0
    average_after: float = 10.0
    threshold: float = 0.4
    other_thresholds: tuple[float, ...] = (0.3, 0.5)
    rtol: float = 1e-3
    atol: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in {"families": str, "depths": int, "pulls": float, "other_thresholds": float}.items():
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise InvalidSpec(f"{name}={value!r}: these are several. Write {name}={getattr(type(self), name)!r}.")
            object.__setattr__(self, name, tuple(kind(item) for item in value))
        for name in self.families:
            if name not in FAMILIES:
                raise UnknownName.among("family of this study", name, FAMILIES)
        if len(set(self.families)) < 3:
            raise InvalidSpec(f"families={self.families!r}: fewer than three families cannot be ranked. Add others.")
        if min(self.depths, default=0) < 1:
            raise InvalidSpec(
                f"depths={self.depths!r}: at D = 0 there is no transition; on undirected graphs ⟨m⟩ does not depend on "
                "the coupling at all. Write depths=(1, 2)."
            )
        if self.side % 2 or self.side < 6:
            raise InvalidSpec(
                f"side={self.side}: N = side² agents form a torus as well as four communities of equal size, each with "
                "room for four neighbours. Write an even number from 6, side=14."
            )

    @property
    def num_agents(self) -> int:
        """N."""
        return self.side**2


def quick() -> GraphFamilies:
    """Smaller graphs, fewer couplings and realizations: seconds."""
    return GraphFamilies(pulls=_grid(10), side=10, num_graphs=2, num_realizations=15)


def for_dataset(config: GraphFamilies, dataset: str) -> GraphFamilies:
    """The theory has its own, Gaussian disorder.

    Raises:
        InvalidSpec: always.
    """
    raise InvalidSpec(
        f"--dataset {dataset}: this study is theory with Gaussian disorder, and uses no data. `consilience predict "
        f"transition --dataset {dataset} --graph torus` solves the theory for the disorder of a data set."
    )


def sweeps(config: GraphFamilies, *, data_dir: str | None = None) -> dict[str, Sweep]:
    """Nothing is simulated."""
    return {}


def stem(config: GraphFamilies) -> str:
    """The name of the figure's files."""
    return "graphs"


def draw_graphs(config: GraphFamilies) -> dict[str, list[Graph]]:
    """The first connected graphs of each family from `seed` on, their weights scaled to the same mean degree.

    Without chance, a family has one graph, given `num_graphs` times.

    Raises:
        InvalidSpec: if a random family is hardly ever connected.
    """
    return {name: _connected(name, FAMILIES[name], config) for name in config.families}


def _connected(name: str, family: Family, config: GraphFamilies) -> list[Graph]:
    if not family.is_random:
        return [_scaled(family.draw(config.num_agents, 0))] * config.num_graphs
    seeds = range(config.seed, config.seed + _MAX_DRAWS)
    drawn = (family.draw(config.num_agents, seed) for seed in seeds)
    found = list(itertools.islice((graph for graph in drawn if graph.is_connected), config.num_graphs))
    if len(found) < config.num_graphs:
        raise InvalidSpec(
            f"{name} with side={config.side}: {len(found)} of {_MAX_DRAWS:,} graphs are connected, for at mean degree "
            f"{DEGREE} large random graphs nearly always leave some agent alone. Write a smaller side, side=14, or "
            "leave the family out."
        )
    return [_scaled(graph) for graph in found]


def _scaled(graph: Graph) -> Graph:
    return graphs.from_adjacency(graph.adjacency * (DEGREE / graph.degrees.mean()), name=graph.name)
