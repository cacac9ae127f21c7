"""Stationary states of Eq. (4) without integrating it: all of them on the complete graph, one on any graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from consilience.axes import AGENT
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.graphs import Graph
from consilience.theory.landau.arguments import System, check_positive, check_system
from consilience.theory.landau.closure import distinct, stationary_states
from consilience.theory.landau.dynamics import drift
from consilience.theory.landau.pieces import Pieces, check_bounded, turning_points
from consilience.theory.landau.relaxation import relax
from consilience.theory.landau.stability import top_eigenvalue

BRANCHES = ("lower", "middle", "upper")
MOST_AGENTS = 8
"""Agents up to which all branch assignments are tried."""
_CHUNK = 8192
"""Branch assignments treated as one array: some megabytes."""


def branches(
    m: Any,
    delta: Any,
    *,
    depth: int,
    coupling: Any,
    weight_decay: Any = 1e-3,
    second_moment: Any = 1.0,
    graph: Graph | None = None,
) -> NDArray[np.int64]:
    """On which monotone piece of its own equation of state each agent is, counted from the lowest (0).

    Even pieces are stable at a fixed pull of the others, odd ones are not (see `pieces`). On the complete graph the
    pull is that of the mean ⟨m⟩, as in `equilibria`; on other graphs that of the neighbours, of strength σ̂ Σ_j q_ij/N.

    Args:
        m: order parameters, shape (…, agents).
        delta: δ_i, broadcastable against `m`.
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0, broadcastable against the batch shape (…).
        weight_decay: γ̂ ≥ 0, broadcastable likewise.
        second_moment: s_i > 0, broadcastable against `m`; 0 only where δ_i = 0 too.
        graph: who listens to whom; the complete graph with unit weights if None.

    Returns:
        Pieces, shape (…, agents): 0 at D = 0, up to 2 at D = 1 and even D, up to 4 at odd D ≥ 3.

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for shapes or a graph that do not fit.

    Example:
        >>> branches([-1.0, 0.1, 1.0, 1.0], [1.0, 1.0, 1.0, -1.0], depth=1, coupling=0.0).tolist()
        [0, 1, 2, 0]
    """
    system = check_system(
        delta, m, depth=depth, coupling=coupling, weight_decay=weight_decay, graph=graph, second_moment=second_moment
    )
    check_bounded(system)
    if system.uniform_weight is not None:
        strength = np.asarray(system.uniform_weight)
    else:
        strength = system.adjacency.sum(-1) / system.num_agents
    linear = system.weight_decay[..., None] + system.coupling[..., None] * strength
    turns = turning_points(system.delta, system.second_moment, linear, system.depth)
    return (turns < system.initial[..., None]).sum(-1)


def equilibria(
    delta: Any,
    *,
    depth: int,
    coupling: float,
    weight_decay: float = 1e-3,
    branch: str | Any | None = None,
    second_moment: Any = 1.0,
) -> xr.Dataset:
    """All stationary states on the complete graph, stable or not, for an assignment of branches or for all of them.

    An agent's branch is the piece of its equation of state that its m_i lies on, given the mean ⟨m⟩ (`branches`).

    Args:
        delta: δ_i of one realization, shape (agents,).
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0; σ̂q on a complete graph of weight q.
        weight_decay: γ̂ ≥ 0.
        branch: "upper" (every agent on the highest piece that it has), "lower", or "middle" (unstable for an agent with
            three pieces, around zero for one with five); or one piece per agent, as `branches` returns them, an int
            array of shape (agents,) whose negative entries count from above; or None for all assignments, which up to 8
            agents can be tried.
        second_moment: s_i > 0, broadcastable against `delta`; 0 only where δ_i = 0 too.

    Returns:
        A data set with dimensions ("state", "agent"): `m` and `branch`, and for each state `mean` ⟨m⟩,
        `top_eigenvalue`, `stable` and `residual`, the largest |ṁ_i|; δ and s are coordinates, the other parameters
        `attrs`. States are sorted by their means; those closer than 1e-7 of the largest possible |m| count as one.
        There are none if an agent has no such piece (any more), or if no mean fits all.

    Raises:
        InvalidSpec: for values that cannot be; for branch=None with more than 8 agents.
        IncompatiblePair: for shapes that do not fit.

    Example:
        >>> states = equilibria([1.0, 1.0], depth=1, coupling=0.75, weight_decay=0.0)
        >>> states["m"].values.round(6).tolist()
        [[-1.0, -1.0], [-0.5, 0.5], [0.0, 0.0], [0.5, -0.5], [1.0, 1.0]]
        >>> states["stable"].values.tolist()
        [True, False, False, False, True]

    Source:
        Paper 001, Eq. (4).
    """
    system = check_system(
        delta, 0.0, depth=depth, coupling=coupling, weight_decay=weight_decay, second_moment=second_moment
    )
    _check_one_population(system)
    pieces = Pieces.of(system)
    found = [stationary_states(pieces, chosen) for chosen in _assignments(branch, pieces)]
    m, chosen = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = distinct(m, _residual(system, m), pieces.size)
    return _dataset(system, m[kept], branch=chosen[kept])


def equilibrium(
    delta: Any,
    *,
    depth: int,
    coupling: float,
    weight_decay: float = 1e-3,
    initial: Any,
    graph: Graph | None = None,
    second_moment: Any = 1.0,
    tolerance: float = 1e-12,
) -> xr.Dataset:
    """The stationary state that the dynamics started from `initial` comes to rest in, on any graph.

    It follows the flow with steps that grow into Newton's method (see `relaxation`), so that it costs some hundred
    steps however slow the flow is. Like the flow it stays where it starts if that is stationary, stable or not, and
    comes to rest in stable states otherwise; on the border of two basins it may decide otherwise than the flow. Eq. (4)
    being cooperative (no agent pushes another away), almost every start comes to rest, on directed graphs too.

    Args:
        delta: δ_i of one realization, shape (agents,).
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0.
        weight_decay: γ̂ ≥ 0.
        initial: m_i to start from, broadcastable against `delta`.
        graph: who listens to whom; the complete graph with unit weights if None.
        second_moment: s_i ≥ 0, broadcastable against `delta`.
        tolerance: at rest means max |ṁ_i| ≤ tolerance times the largest term of Eq. (4), or 1 if that is larger.

    Returns:
        A data set with dimension "agent": `m`, and the scalars `mean`, `top_eigenvalue`, `stable` and `residual`, the
        largest |ṁ_i|. Nothing is raised if 10 000 steps do not suffice: the residual says it. If the flow blows up,
        which only s_i = 0 allows, m is NaN and the residual infinite.

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for shapes or a graph that do not fit.

    Example:
        >>> state = equilibrium([4.0, 1.0], depth=1, coupling=50.0, weight_decay=0.0, initial=[0.2, -0.1])
        >>> state["m"].values.round(3).tolist(), bool(state["stable"])
        ([1.636, 1.549], True)

    Source:
        Paper 001, Eq. (4).
    """
    system = check_system(
        delta, initial, depth=depth, coupling=coupling, weight_decay=weight_decay, graph=graph,
        second_moment=second_moment,
    )  # fmt: skip
    _check_one_population(system)
    return _dataset(system, relax(system, check_positive("tolerance", tolerance)))


def _check_one_population(system: System) -> None:
    if system.batch_shape:
        raise IncompatiblePair(
            f"The arguments describe a batch of populations, of shape {system.batch_shape}, each with stationary "
            "states of its own. Write delta of shape (agents,) and single numbers for coupling and weight_decay, and "
            "loop over the batch."
        )


def _assignments(branch: Any, pieces: Pieces) -> Iterator[NDArray[np.int64]]:
    """The assignments of pieces to look at, shape (assignments, agents), in chunks."""
    counts = pieces.counts
    if branch is None:
        yield from _all_assignments(pieces)
    elif isinstance(branch, str):
        if branch not in BRANCHES:
            raise UnknownName.among("branch", branch, BRANCHES)
        yield {"lower": 0 * counts, "middle": counts // 2, "upper": counts - 1}[branch][None]
    else:
        chosen, most = np.asarray(branch), pieces.most
        if chosen.dtype.kind not in "iu" or (chosen >= most).any() or (chosen < -most).any():
            raise InvalidSpec(
                f"branch={branch!r}: at depth {pieces.system.depth} an agent has at most {most} piece(s). Write whole "
                f"numbers from 0, the lowest, to {most - 1}, or from -1, the highest, to {-most}; or 'lower', 'middle' "
                "or 'upper'."
            )
        if chosen.shape != counts.shape:
            raise IncompatiblePair(
                f"branch has shape {chosen.shape}, but delta has shape {counts.shape}. Write one piece per agent."
            )
        chosen = np.where(chosen < 0, chosen + counts, chosen)
        has_all = ((chosen >= 0) & (chosen < counts)).all()
        yield chosen[None][: int(has_all)]


def _all_assignments(pieces: Pieces) -> Iterator[NDArray[np.int64]]:
    num_agents = pieces.system.num_agents
    if num_agents > MOST_AGENTS:
        raise InvalidSpec(
            f"delta has {num_agents} agents, and branch=None tries all assignments of branches, up to 3^{num_agents} "
            f"(5^{num_agents} at odd depths from 3), which is meant for up to {MOST_AGENTS} agents. Write "
            "branch='upper', 'lower' or 'middle', or the branches of a state, branch=branches(m, delta, ...)."
        )
    first, last = np.sort([pieces.levels[:, :-1], pieces.levels[:, 1:]], axis=0)
    is_within = (first <= pieces.reach + pieces.rounding) & (last >= -pieces.reach - pieces.rounding)
    is_within &= np.arange(pieces.most) < pieces.counts[:, None]
    options = [np.flatnonzero(row) for row in is_within]
    shape = tuple(len(option) for option in options)
    for start in range(0, math.prod(shape), _CHUNK):
        indices = np.unravel_index(np.arange(start, min(start + _CHUNK, math.prod(shape))), shape)
        yield np.stack([option[index] for option, index in zip(options, indices, strict=True)], -1)


def _residual(system: System, m: np.ndarray) -> np.ndarray:
    found = drift(
        m, system.delta, depth=system.depth, coupling=system.coupling, weight_decay=system.weight_decay,
        graph=system.graph, second_moment=system.second_moment,
    )  # fmt: skip
    return np.abs(found).max(-1)


def _dataset(system: System, m: np.ndarray, **labels: np.ndarray) -> xr.Dataset:
    """`m`, and `labels` of its shape, with what is said of each state."""
    is_lost = not np.isfinite(m).all()
    top, residual = np.asarray(np.nan), np.asarray(np.inf)
    if not is_lost:
        residual = _residual(system, m)
        top = top_eigenvalue(
            m, system.delta, depth=system.depth, coupling=system.coupling, weight_decay=system.weight_decay,
            second_moment=system.second_moment, graph=system.graph,
        )  # fmt: skip
    variables = {
        "m": (m, "order parameter $m_i$"),
        **{name: (values, name) for name, values in labels.items()},
        "mean": (m.mean(-1), r"mean order parameter $\langle m \rangle$"),
        "top_eigenvalue": (top, r"top eigenvalue $\lambda$ of the Jacobian"),
        "stable": (np.asarray(top) < 0, "stable"),
        "residual": (residual, r"largest $|\dot{m}_i|$"),
    }
    dims = ("state", AGENT)[2 - m.ndim :]
    return xr.Dataset(
        {name: (dims[: np.ndim(values)], values, {"long_name": text}) for name, (values, text) in variables.items()},
        coords={
            AGENT: np.arange(system.num_agents),
            "delta": (AGENT, system.delta, {"long_name": r"disorder $\delta_i$"}),
            "second_moment": (AGENT, system.second_moment, {"long_name": "second moment $s_i$"}),
        },
        attrs={
            "depth": system.depth,
            "coupling": float(system.coupling),
            "weight_decay": float(system.weight_decay),
            "graph": "complete graph" if system.graph is None else system.graph.name,
        },
    )
