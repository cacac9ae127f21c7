"""What is computed: curves on every graph, critical pulls, and what they go together with.

With the eigenvalues μ_1 = 0 < Re μ_2 ≤ … of the Laplacian L_Q in units of ⟨k⟩, the properties of a graph are

- the spectral gap Re μ_2: how fast agreement comes to the whole graph,
- the largest |μ|: how strongly the roughest pattern is damped,
- the heterogeneity ⟨k²⟩/⟨k⟩²: how unequally agents are pulled,
- ⟨Re 1/μ⟩ over all patterns but the uniform one: their mean relaxation time at unit pull. To second order in δ about
  the uniform pattern, diag(δ) − (σ̂/N) L_Q lets that grow at the rate ⟨δ⟩ + var(δ) ⟨1/μ⟩ / pull.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.linalg
import scipy.stats
import xarray as xr

from consilience.experiments import Computation, rank_agreement
from consilience.graphs import Graph
from consilience.observables import CriticalCoupling, critical_coupling
from consilience.recipes.graph_families.protocol import DEGREE, GraphFamilies, draw_graphs
from consilience.recipes.recipe import Execute
from consilience.theory import landau

PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        "gap": "spectral gap",
        "largest": "largest |μ|",
        "heterogeneity": "⟨k²⟩/⟨k⟩²",
        "relaxation": "⟨1/μ⟩",
    }
)
"""What the critical pull is held against: name → how it is written."""
_MODES_PER_GRAPH = 2


def properties(graph: Graph) -> dict[str, float]:
    """The `PROPERTIES` of a connected graph, and its mean number of neighbours; of the in-degrees if it is directed.

    Example:
        >>> from consilience import graphs
        >>> found = properties(graphs.complete(10))
        >>> round(found["gap"], 3), found["heterogeneity"], round(found["relaxation"], 3)
        (1.111, 1.0, 0.9)
    """
    degrees, mean = graph.degrees, graph.degrees.mean()
    spectrum = np.sort(graph.laplacian_spectrum)[1:] / mean
    return {
        "neighbours": float(graph.num_neighbours.mean()),
        "gap": float(spectrum.real.min()),
        "largest": float(abs(spectrum).max()),
        "heterogeneity": float((degrees**2).mean() / mean**2),
        "relaxation": float((1 / spectrum).real.mean()),
    }


def leading_mode(graph: Graph, delta: np.ndarray, *, pull: float, weight_decay: float) -> tuple[float, float]:
    """The fastest growth about m = 0 at D = 1, and how many agents take part in it.

    The linear theory: ṁ = J m with J = diag(δ − γ̂) − (σ̂/N) L_Q.

    Args:
        graph: with mean degree ⟨k⟩.
        delta: δ_i, shape (agents,).
        pull: σ̂⟨k⟩/N.
        weight_decay: γ̂.

    Returns:
        The largest real part of the eigenvalues of J, and the participation number (Σ_i v_i²)²/Σ_i v_i⁴ of its
        eigenvector: 1 if a single agent grows, N if all do alike.

    Example:
        >>> from consilience import graphs
        >>> rate, agents = leading_mode(graphs.complete(4), np.full(4, 2.0), pull=1.0, weight_decay=0.5)
        >>> round(rate, 9), round(agents, 9)
        (1.5, 4.0)
    """
    jacobian = np.diag(delta - weight_decay) - pull / graph.degrees.mean() * graph.laplacian
    values: Any
    vectors: Any
    if graph.directed:
        values, vectors = np.linalg.eig(jacobian)
    else:
        last = graph.num_agents - 1
        values, vectors = scipy.linalg.eigh(jacobian, subset_by_index=(last, last))
    at = int(values.real.argmax())
    weight = abs(vectors[:, at]) ** 2
    return float(values[at].real), float(weight.sum() ** 2 / (weight**2).sum())


def _sweep(config: GraphFamilies, graph: Graph, *, number: int, depth: int) -> xr.Dataset:
    """One curve. Its realizations belong to the number of the graph, whatever the family (common random numbers)."""
    size, seed = (config.num_realizations, config.num_agents), config.seed + number
    result = landau.sweep(
        disorder(config, number),
        landau.uniform_start(*size, offset=config.offset, seed=seed),
        depth=depth,
        couplings=np.array(config.pulls) * config.num_agents / DEGREE,
        graph=graph,
        weight_decay=config.weight_decay,
        span=config.span,
        average_after=config.average_after,
        rtol=config.rtol,
        atol=config.atol,
    )
    return result[["magnetization", "outcome"]]


def computation(config: GraphFamilies, drawn: Mapping[str, list[Graph]]) -> Computation:
    """All curves, as cells that do not depend on each other; the deepest, which take longest, first."""
    cells = {
        f"{family},graph={number},D={depth}": partial(_sweep, config, graph, number=number, depth=depth)
        for depth in sorted(config.depths, reverse=True)
        for family, members in drawn.items()
        for number, graph in enumerate(members)
    }
    return Computation("graphs", "landau.sweep on graphs", {"config": config, "graphs": drawn}, cells)


@dataclass(frozen=True)
class Correlation:
    """Spearman's ρ between a property and the critical pull, over families.

    Attributes:
        value: ρ of the means over graphs, of the logarithm of the critical pull.
        interval: 95 % bootstrap interval over families and graphs.
        p_value: two-sided, by permutation of the families; the null is that the property does not matter.
        num_families: how many are ranked.
    """

    value: float
    interval: tuple[float, float]
    p_value: float
    num_families: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:+.2f} ({low:+.2f} to {high:+.2f}), p = {self.p_value:.2g}"


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        graphs: family → its graphs.
        magnetization: time average of ⟨m⟩, dimensions (depth, family, graph, coupling, seed); "coupling" is the pull.
    """

    config: GraphFamilies
    graphs: dict[str, list[Graph]]
    magnetization: xr.DataArray

    @cached_property
    def critical(self) -> dict[tuple[int, str], CriticalCoupling]:
        """(D, family) → the critical pull of all realizations on all graphs."""
        table = self.magnetization.transpose("depth", "family", "coupling", "graph", "seed")
        table = table.stack(seeds=("graph", "seed"), create_index=False)
        return {
            (depth, family): critical_coupling(
                table.sel(depth=depth, family=family), threshold=self.config.threshold, over="seeds"
            )
            for depth in self.config.depths
            for family in self.config.families
        }

    @cached_property
    def properties(self) -> xr.Dataset:
        """`neighbours` and the `PROPERTIES`, dimensions (family, graph)."""
        found = {family: [properties(graph) for graph in members] for family, members in self.graphs.items()}
        return xr.Dataset(
            {
                name: (("family", "graph"), [[one[name] for one in of_family] for of_family in found.values()])
                for name in ("neighbours", *PROPERTIES)
            },
            {"family": list(found)},
        )

    @cached_property
    def modes(self) -> xr.Dataset:
        """`rate` and `agents` of the leading mode at D = 1 and the critical pull, dimensions (family, sample).

        For the first realizations on every graph. NaN where that pull is not known.
        """
        config, count = self.config, min(_MODES_PER_GRAPH, self.config.num_realizations)
        found = np.full((2, len(config.families), config.num_graphs * count), np.nan)
        for position, (family, members) in enumerate(self.graphs.items()):
            pull = self.critical[1, family].value if 1 in config.depths else np.nan
            if np.isfinite(pull):
                found[:, position] = np.transpose([
                    leading_mode(graph, delta, pull=pull, weight_decay=config.weight_decay)
                    for number, graph in enumerate(members)
                    for delta in disorder(config, number)[:count]
                ])  # fmt: skip
        dims = ("family", "sample")
        return xr.Dataset({"rate": (dims, found[0]), "agents": (dims, found[1])}, {"family": list(self.graphs)})

    @cached_property
    def by_graph(self) -> xr.DataArray:
        """Critical pulls of the graphs one by one, dimensions (depth, graph, family); infinite if not reached."""
        return _by_graph(self.magnetization, self.config.threshold)

    @property
    def is_sparse(self) -> np.ndarray:
        """Which families have ⟨k⟩ neighbours, of weight 1 or nearly so, rather than more of less weight."""
        return self.properties.neighbours.mean("graph").values < 1.5 * DEGREE

    @property
    def signed_share(self) -> float:
        """The mean of ⟨m⟩ over realizations as a share of that of |⟨m⟩|, the smallest of all curves and pulls."""
        over = ("graph", "seed")
        return float((self.magnetization.mean(over) / abs(self.magnetization).mean(over)).min())

    @property
    def num_diverged(self) -> int:
        """Realizations that could not be integrated at some pull; they are left out of the averages."""
        return int(self.magnetization.isnull().sum())

    @cached_property
    def correlations(self) -> dict[tuple[int, str, str], Correlation]:
        """(D, one of `PROPERTIES`, group) → how property and critical pull go together.

        Groups are "all" families, and the "sparse" ones, without those of more than ⟨k⟩ neighbours.
        """
        groups = {"all": np.full(len(self.config.families), True), "sparse": self.is_sparse}
        return {
            (depth, name, group): self._correlation(depth, name, kept)
            for depth in self.config.depths
            for name in PROPERTIES
            for group, kept in groups.items()
        }

    def _correlation(self, depth: int, name: str, kept: np.ndarray) -> Correlation:
        if kept.sum() < 3:
            return Correlation(np.nan, (np.nan, np.nan), np.nan, int(kept.sum()))
        x, y = self._values(name)[kept], np.log(self.by_graph.sel(depth=depth).values)[:, kept]
        sign = -1.0 if _spearman(x, y.mean(axis=0)) < 0 else 1.0
        found = rank_agreement(sign * x, y, num_bootstrap=1000, seed=self.config.seed)
        low, high = sorted(sign * end for end in found.interval)
        # The function's p counts correlations of one sign, here the one that was found.
        return Correlation(sign * found.value, (low, high), min(1.0, 2 * found.p_value), found.num_ranked)

    def correlation_at(self, name: str, depth: int, threshold: float) -> float:
        """ρ at another threshold."""
        y = np.log(_by_graph(self.magnetization.sel(depth=[depth]), threshold).values[0])
        return _spearman(self._values(name), y.mean(axis=0))

    def _values(self, name: str) -> np.ndarray:
        """The property of each family, without the rounding errors that would break ties."""
        return self.properties[name].mean("graph").values.round(9)


def _by_graph(magnetization: xr.DataArray, threshold: float) -> xr.DataArray:
    mean = magnetization.mean("seed").transpose("depth", "graph", "family", "coupling")
    values = np.empty(mean.shape[:-1])
    for index in np.ndindex(values.shape):
        values[index] = critical_coupling(mean[index], threshold=threshold).value
    return mean.isel(coupling=0, drop=True).copy(data=np.nan_to_num(values, nan=np.inf))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    if len(set(x.tolist())) == 1 or len(set(y.tolist())) == 1:
        return np.nan
    return float(scipy.stats.spearmanr(x, y).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def disorder(config: GraphFamilies, number: int) -> np.ndarray:
    """δ on the graphs of this number, shape (realizations, agents)."""
    size = config.num_realizations, config.num_agents
    return landau.gaussian_disorder(*size, std=config.disorder_std, seed=config.seed + number)


def run(config: GraphFamilies, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Compute all curves, or load them.

    Args:
        config: the protocol.
        execute: computes or loads, `experiments.compute` with a store, say.
        data_dir: not used.

    Example:
        >>> from consilience.experiments import compute
        >>> small = GraphFamilies(families=("complete", "torus", "ring"), depths=(1,), pulls=(0.1, 3.0), side=6,
        ...                       num_graphs=1, num_realizations=5)
        >>> run(small, compute).magnetization.dims
        ('depth', 'family', 'graph', 'coupling', 'seed')
    """
    drawn = draw_graphs(config)
    done = execute(computation(config, drawn))
    values = [
        [
            [done[f"{family},graph={number},D={depth}"].magnetization.values for number in range(config.num_graphs)]
            for family in config.families
        ]
        for depth in config.depths
    ]
    coords = {"depth": list(config.depths), "family": list(config.families), "coupling": list(config.pulls)}
    return Result(config, drawn, xr.DataArray(values, coords, ("depth", "family", "graph", "coupling", "seed")))
