"""Stationary states of Eq. (4) without integrating it.

On the complete graph with mean M = ⟨m⟩ a state is stationary if g_i(m_i) = σ̂M =: c for every agent, where

    g_i(m) = s_i m^(2D+1) − δ_i m^D + (γ̂ + σ̂) m,

closed by ⟨m⟩ = M. Between its critical points g_i is monotone: its pieces, counted from below, rise (0, 2, 4: stable at
fixed M) and fall (1, 3: unstable) in turn. There is 1 at D = 0, at most 3 at D = 1 and even D, at most 5 at odd D ≥ 3.
On a piece m_i(c) is the inverse of a monotone function, so that the choice of a piece for each agent, its *branch*,
leaves one equation in one unknown,

    H(c) = ⟨−V'_i(m_i(c))⟩ = σ̂⟨m(c)⟩ − c = 0,   H' = ⟨u_i/(σ̂ − u_i)⟩   with   u_i = −V''_i(m_i(c)).

Its zeros are isolated by bisection. On every interval of c the monotone pieces bound m_i, hence u_i, hence H and H'; an
interval is dropped only if the bounds exclude a zero, and no longer split once H is monotone on it. None is missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import xarray as xr
from numpy.typing import NDArray

from consilience.axes import AGENT
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.graphs import Graph
from consilience.theory.landau.arguments import Array, System, check_positive, check_system
from consilience.theory.landau.dynamics import drift, graph_pull, local_drift, local_slope, mean_field_pull
from consilience.theory.landau.stability import monotone_zero, top_eigenvalue, turning_points

BRANCHES = ("lower", "middle", "upper")
MOST_AGENTS = 8
"""Agents up to which all branch assignments are tried."""

_LEAST = 1e-18
"""Error, relative to the largest that m or c may be, that does not matter where they vanish."""
_CHUNK = 8192
"""Branch assignments treated as one array: some tens of megabytes."""
_NARROWEST = 1e-13
"""Width, relative to the range of c, at which an interval is no longer split: zeros closer than that are one."""
_ZERO = 1e-13
"""|H|, relative to the terms of −V', that counts as zero: averages of rounded terms of both signs leave less."""
_SAME = 1e-7
"""Distance, relative to the largest |m|, of states that are one: near a fold m is known to the root of rounding."""
_NEAR = 1e-9
"""How far outside its bracket, relative to the largest |m|, a state may be found: it is less than `_SAME`."""
_NEWTON_STEPS = 8
_ACCURACY = 1e-2
"""Error, relative to 1 + |m|, of one step along the flow."""
_MAX_STEPS = 1000


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
    """On which monotone piece of its own equation each agent is, counted from the lowest (0).

    Even ones are stable as long as the others' pull does not change, odd ones are not. On the complete graph the pull
    is that of the mean ⟨m⟩, as in `equilibria`; on other graphs that of the neighbours, who pull with σ̂ Σ_j q_ij/N.

    Args:
        m: order parameters, shape (…, agents).
        delta: δ_i, broadcastable against `m`.
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0, broadcastable against the batch shape (…).
        weight_decay: γ̂ ≥ 0, broadcastable likewise.
        second_moment: s_i > 0, broadcastable against `m`; 0 only where δ_i = 0 too.
        graph: who listens to whom; the complete graph with unit weights if None.

    Returns:
        Pieces, shape (…, agents), from 0 to at most 4.

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
    _check_bounded(system)
    if system.uniform_weight is not None:
        pull = system.coupling[..., None] * system.uniform_weight
    else:
        pull = system.coupling[..., None] * system.adjacency.sum(-1) / system.num_agents
    linear = system.weight_decay[..., None] + pull
    ends = turning_points(system.delta, system.second_moment, linear, system.depth)
    return (ends < system.initial[..., None]).sum(-1)


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

    Args:
        delta: δ_i of one realization, shape (agents,).
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0; on a complete graph of weight q, σ̂q.
        weight_decay: γ̂ ≥ 0.
        branch: "upper" (every agent on the highest piece that it has), "lower", "middle" (which is unstable for an
            agent with three pieces, and around zero for one with five); or one piece per agent, an int array of shape
            (agents,) with negative numbers counting from above, what `branches` returns; or None for all assignments,
            up to 8 agents.
        second_moment: s_i > 0, broadcastable against `delta`; 0 only where δ_i = 0 too.

    Returns:
        A data set with dimensions ("state", "agent"): `m` and `branch`, and for each state `mean` ⟨m⟩,
        `top_eigenvalue`, `stable` and `residual`, the largest |ṁ_i|. States are sorted by mean. There may be none: an
        agent need not have the piece that it is assigned (any more), nor need the pieces meet. States closer than 1e-7
        of the largest |m| count as one. `attrs` hold the parameters, the coordinates δ_i and s_i.

    Raises:
        InvalidSpec: for values that cannot be; for branch=None with more than 8 agents.
        IncompatiblePair: for shapes that do not fit.

    Example:
        >>> states = equilibria([1.0, 1.0], depth=1, coupling=0.5, weight_decay=0.0)
        >>> states["m"].values.round(6)[[0, 1, -1]].tolist()
        [[-1.0, -1.0], [-0.707107, 0.707107], [1.0, 1.0]]
        >>> states["stable"].values.astype(int).tolist()
        [1, 1, 0, 1, 1]

    Source:
        Paper 001, Eq. (4).
    """
    system = check_system(
        delta, 0.0, depth=depth, coupling=coupling, weight_decay=weight_decay, second_moment=second_moment
    )
    _check_one_realization(system)
    _check_bounded(system)
    pieces = _Pieces.of(system)
    found = [_states(pieces, chosen) for chosen in _assignments(branch, pieces)]
    m = np.concatenate([states for states, _ in found])
    chosen = np.concatenate([chosen for _, chosen in found])
    parameters = {
        "depth": system.depth,
        "coupling": float(system.coupling),
        "weight_decay": float(system.weight_decay),
        "second_moment": system.second_moment,
    }
    residual = np.abs(drift(m, system.delta, **parameters)).max(-1)
    order = _distinct(m, residual, pieces.size)
    m, chosen, residual = m[order], chosen[order], residual[order]
    top = top_eigenvalue(m, system.delta, **parameters)
    variables = {"m": m, "branch": chosen, "mean": m.mean(-1), "top_eigenvalue": top, "residual": residual}
    return _dataset(system, ("state",), variables)


# ---- the pieces of every agent -----------------------------------------------------------------------------------


def _check_one_realization(system: System) -> None:
    if system.batch_shape:
        raise IncompatiblePair(
            f"delta, coupling, weight_decay and second_moment describe {system.batch_shape} copies of the system, and "
            "each has its own number of stationary states. Write delta of shape (agents,) and single numbers, and call "
            "this once for every copy."
        )


def _check_bounded(system: System) -> None:
    without = (system.second_moment == 0) & (system.delta != 0)
    if without.any():
        where = np.unravel_index(np.argmax(without), without.shape)
        raise InvalidSpec(
            f"second_moment holds 0 where delta holds {system.delta[where]:g}: inputs that vanish correlate with "
            "nothing, and nothing would bound the agent's order parameter. Write s_i > 0, or δ_i = 0 as well for an "
            "agent without data."
        )


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The functions g_i of all agents, cut where they turn.

    Attributes:
        system: whose functions they are.
        coupling: σ̂.
        size: no stationary state has an |m_i| above it.
        reach: nor a |c| above this.
        ends: where pieces begin and end, shape (agents, pieces + 1); missing pieces have no length.
        levels: g_i there.
        counts: number of pieces, shape (agents,).
    """

    system: System
    coupling: float
    size: float
    reach: float
    ends: Array
    levels: Array
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, system: System) -> _Pieces:
        delta, second, depth = system.delta, system.second_moment, system.depth
        coupling, linear = float(system.coupling), float(system.coupling + system.weight_decay)
        if linear == 0 and (second == 0).any():
            raise InvalidSpec(
                f"second_moment[{int(np.argmin(second))}]=0 without weight decay and coupling: nothing moves this "
                "agent, and every m is stationary. Write weight_decay > 0 or coupling > 0."
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            own = np.where(second > 0, np.abs(delta) / second, 0.0)
            # The agent with the largest |m| is pulled back by the others, so that its own drift leads outward.
            size = float((own ** (1 / (depth + 1))).max())
            reach = coupling * size * (1 + 1e-6)
            # From here on g_i is beyond the reach: half of s m^(2D+1) exceeds it, and the other half |δ m^D|.
            driven = np.where(second > 0, (2 * reach / second) ** (1 / (2 * depth + 1)), 2 * reach / linear)
        bound = np.maximum(driven, (2 * own) ** (1 / (depth + 1)))[:, None]
        inner = turning_points(delta, second, np.asarray(linear), depth)
        ends = np.concatenate([-bound, np.minimum(inner, bound), bound], -1)
        pieces = cls(system, coupling, size, reach, ends, ends, 1 + np.isfinite(inner).sum(-1))
        levels = coupling * ends - pieces.drift(ends.T).T
        return cls(system, coupling, size, reach, ends, levels, pieces.counts)

    def drift(self, m: Array) -> Array:
        """−V'_i, shape (…, agents)."""
        return local_drift(m, self.system.delta, **self._own)

    def slope(self, m: Array) -> Array:
        """u_i = −V''_i, shape (…, agents)."""
        return local_slope(m, self.system.delta, **self._own)

    @property
    def _own(self) -> dict[str, Any]:
        s = self.system
        return {"depth": s.depth, "weight_decay": s.weight_decay, "second_moment": s.second_moment}

    @cached_property
    def inflections(self) -> list[tuple[Array, Array]]:
        """Where −V''_i may be extremal, and its values there, each of shape (agents,)."""
        s = self.system
        ratio = s.delta / np.where(s.second_moment > 0, s.second_moment, 1.0)
        share = (s.depth - 1) / (2 * (2 * s.depth + 1)) * np.abs(ratio)
        turn = share ** (1 / (s.depth + 1)) if s.depth > 0 else np.zeros_like(ratio)
        return [(m, self.slope(m)) for m in (-turn, 0 * turn, turn)]

    @property
    def zero(self) -> float:
        """|H| that rounding may leave."""
        s = self.system
        terms = np.abs(s.delta) * self.size**s.depth + s.second_moment * self.size ** (2 * s.depth + 1)
        return _ZERO * float(terms.max() + s.weight_decay * self.size)

    def inverses(self, c: Array) -> Array:
        """m_i(c) on every piece, or its nearer end, shape (levels, pieces, agents), for c of shape (levels,)."""
        (low, high), (first, last) = ((table[:, :-1].T, table[:, 1:].T) for table in (self.ends, self.levels))
        rising = np.arange(len(low))[:, None] % 2 == 0
        bottom, top = np.where(rising, (low, high), (high, low))
        c = np.broadcast_to(c[:, None], (len(c), len(low)))
        outside = [c[..., None] <= np.minimum(first, last), c[..., None] >= np.maximum(first, last)]
        low, high = (np.select(outside, [bottom, top], end) for end in (low, high))
        return self.inverse(c, low, high, rising)

    def inverse(self, c: Array, low: Array, high: Array, rising: Any) -> Array:
        """m_i(c) between `low` and `high`, shape (…, agents), for c of shape (…)."""

        def function(m: Array) -> tuple[Array, Array]:
            return self.coupling * m - c[..., None] - self.drift(m), self.coupling - self.slope(m)

        return monotone_zero(function, low, high, rising=rising, least=_LEAST * self.size)


def _assignments(branch: Any, pieces: _Pieces) -> Iterator[NDArray[np.int64]]:
    """The assignments to look at, shape (assignments, agents), in chunks."""
    counts, num_agents = pieces.counts, len(pieces.counts)
    if branch is None:
        yield from _all_assignments(pieces)
    elif isinstance(branch, str):
        if branch not in BRANCHES:
            raise UnknownName.among("branch", branch, BRANCHES)
        yield {"lower": 0 * counts, "middle": counts // 2, "upper": counts - 1}[branch][None]
    else:
        chosen, most = np.asarray(branch), pieces.ends.shape[1] - 1
        if chosen.dtype.kind not in "iu" or (chosen >= most).any() or (chosen < -most).any():
            raise InvalidSpec(
                f"branch={branch!r}: at depth {pieces.system.depth} an agent has at most {most} pieces. Write whole "
                f"numbers from 0 (lowest) to {most - 1}, or from -1 (highest) to {-most}; or 'lower', 'middle', 'upper'."
            )
        if chosen.shape != (num_agents,):
            raise IncompatiblePair(
                f"branch has shape {chosen.shape}, but delta has {num_agents} agents. Write one piece per agent."
            )
        chosen = np.where(chosen < 0, chosen + counts, chosen)
        exists = ((chosen >= 0) & (chosen < counts)).all()
        yield chosen[None][: int(exists)]


def _all_assignments(pieces: _Pieces) -> Iterator[NDArray[np.int64]]:
    num_agents = len(pieces.counts)
    if num_agents > MOST_AGENTS:
        raise InvalidSpec(
            f"delta has {num_agents} agents, and branch=None tries all of up to 3^{num_agents} assignments of branches "
            f"(5^{num_agents} at odd depths from 3), which is feasible up to {MOST_AGENTS} agents. Write branch='upper', "
            "'lower' or 'middle', or the branches of a state, branch=branches(m, delta, ...)."
        )
    first, last = np.minimum(pieces.levels[:, :-1], pieces.levels[:, 1:]), np.maximum(
        pieces.levels[:, :-1], pieces.levels[:, 1:]
    )
    within = (first <= pieces.reach) & (last >= -pieces.reach)
    within &= np.arange(within.shape[1]) < pieces.counts[:, None]
    options = [np.flatnonzero(row) for row in within]
    shape = tuple(len(option) for option in options)
    for start in range(0, max(math.prod(shape), 1), _CHUNK):
        indices = np.unravel_index(np.arange(start, min(start + _CHUNK, math.prod(shape))), shape)
        yield np.stack([option[index] for option, index in zip(options, indices, strict=True)], -1)


# ---- the zeros of H ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Intervals:
    """Intervals of c on which pieces are looked at.

    Attributes:
        row: which assignment, shape (intervals,).
        c: the two ends, shape (intervals, 2).
        m: m_i(c) there, shape (intervals, 2, agents).
        h: H(c) there, shape (intervals, 2).
    """

    row: NDArray[np.int64]
    c: Array
    m: Array
    h: Array

    def __getitem__(self, kept: Any) -> _Intervals:
        return _Intervals(self.row[kept], self.c[kept], self.m[kept], self.h[kept])

    @property
    def width(self) -> Array:
        return self.c[:, 1] - self.c[:, 0]

    @property
    def crossing(self) -> NDArray[np.bool_]:
        return self.h.min(-1) * self.h.max(-1) <= 0

    @classmethod
    def joined(cls, parts: list[_Intervals]) -> _Intervals:
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def halves(self, pieces: _Pieces, rising: NDArray[np.bool_]) -> _Intervals:
        """Both halves of every interval."""
        c = self.c.mean(-1)
        m = pieces.inverse(c, self.m.min(1), self.m.max(1), rising[self.row])
        h = pieces.drift(m).mean(-1)

        def half(end: int) -> _Intervals:
            pairs = ((c, self.c[:, end]), (m, self.m[:, end]), (h, self.h[:, end]))
            return _Intervals(self.row, *(np.stack(pair[:: 1 if end else -1], 1) for pair in pairs))

        return _Intervals.joined([half(0), half(1)])


def _states(pieces: _Pieces, chosen: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """All stationary states on the pieces `chosen`, shape (assignments, agents): m and branches, one row per state."""
    rising = chosen % 2 == 0
    todo = _whole_ranges(pieces, chosen)
    # An end is a fold, or nothing at all: what is zero there up to rounding may cross it outside.
    at_end = np.abs(todo.h) <= pieces.zero
    rows, states = [np.repeat(todo.row, 2)[at_end.ravel()]], [todo.m[at_end]]
    todo, ready = todo[todo.width > 0], [todo[:0]]
    while len(todo.row):
        lower, upper = _slope_bounds(pieces, todo, rising)
        is_monotone = (lower >= 0) | (upper <= 0)
        is_narrow = todo.width <= _NARROWEST * pieces.reach
        ready.append(todo[(is_monotone | is_narrow) & todo.crossing])
        touching = is_narrow & ~is_monotone & ~todo.crossing & (np.abs(todo.h).min(-1) <= pieces.zero)
        rows.append(todo.row[touching])
        states.append(todo.m[touching, 0])
        todo = todo[~is_monotone & ~is_narrow & _may_vanish(pieces, todo, lower, upper)].halves(pieces, rising)
    brackets = _Intervals.joined(ready)
    rows.append(brackets.row)
    states.append(_close_in(pieces, brackets, rising))
    return np.concatenate(states), chosen[np.concatenate(rows)]


def _whole_ranges(pieces: _Pieces, chosen: NDArray[np.int64]) -> _Intervals:
    """The interval of c on which all pieces of an assignment exist, for those that have one."""
    agents = np.arange(chosen.shape[1])
    ends = np.stack([pieces.levels[agents, chosen], pieces.levels[agents, chosen + 1]], 1)
    begin = np.maximum(ends.min(1).max(-1), -pieces.reach)
    end = np.minimum(ends.max(1).min(-1), pieces.reach)
    row = np.flatnonzero(begin <= end + pieces.zero)  # pieces that only touch do so up to rounding
    c = np.sort(np.stack([begin, end], 1)[row], 1)
    # Assignments share these few levels: every piece is inverted at each of them once.
    levels, where = np.unique(c, return_inverse=True)
    m = pieces.inverses(levels)[where.reshape(c.shape)[..., None], chosen[row][:, None], agents]
    return _Intervals(row, c, m, pieces.drift(m).mean(-1))


def _slope_bounds(pieces: _Pieces, intervals: _Intervals, rising: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Bounds of H' on every interval."""
    low, high = intervals.m.min(1), intervals.m.max(1)
    at_ends = pieces.slope(intervals.m)
    least, most = at_ends.min(1), at_ends.max(1)
    for m, u in pieces.inflections:
        inside = (low < m) & (m < high)
        least, most = np.where(inside, np.minimum(least, u), least), np.where(inside, np.maximum(most, u), most)
    sign = np.where(rising[intervals.row], 1.0, -1.0)

    def response(u: Array) -> Array:
        gap = pieces.coupling - u
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(sign * gap > 0, u / gap, sign * np.inf).mean(-1)

    return response(least), response(most)


def _may_vanish(pieces: _Pieces, intervals: _Intervals, lower: Array, upper: Array) -> NDArray[np.bool_]:
    """Whether the bounds on m_i, or those on H', leave room for a zero of H."""
    (first, last), (left, right), width = intervals.c.T, intervals.h.T, intervals.width
    down, up = np.minimum(lower, 0) * width, np.maximum(upper, 0) * width
    least = np.maximum(left + down, right - up)
    most = np.minimum(left + up, right - down)
    slack = pieces.zero + 1e-12 * pieces.reach
    least = np.maximum(least, pieces.coupling * intervals.m.min(1).mean(-1) - last - slack)
    most = np.minimum(most, pieces.coupling * intervals.m.max(1).mean(-1) - first + slack)
    return (least <= pieces.zero) & (most >= -pieces.zero)


def _close_in(pieces: _Pieces, brackets: _Intervals, rising: NDArray[np.bool_]) -> Array:
    """m at the zero of H in every bracket, shape (brackets, agents): by Newton's method, halving those where it fails.

    Newton's method acts on all m_i at once, in which nothing is singular at a fold.
    """
    result, todo = np.empty(brackets.m[:, 0].shape), np.arange(len(brackets.row))
    while len(todo):
        m, has_converged = _newton(pieces, brackets)
        is_narrow = brackets.width <= _NARROWEST * pieces.reach
        result[todo] = np.where(has_converged[:, None], m, brackets.m.mean(1))
        left = ~has_converged & ~is_narrow
        todo, count = todo[left], left.sum()
        both = brackets[left].halves(pieces, rising)
        brackets = both[np.arange(count) + np.where(both.crossing[:count], 0, count)]
    return result


def _newton(pieces: _Pieces, brackets: _Intervals) -> tuple[Array, NDArray[np.bool_]]:
    """Newton's method for Eq. (4) from the middle of every bracket, and whether it has converged within it."""
    sigma, m = pieces.coupling, brackets.m.mean(1)
    low, high = (bound(brackets.m, 1) for bound in (np.min, np.max))
    with np.errstate(all="ignore"):
        for step in range(_NEWTON_STEPS + 1):
            force = pieces.drift(m) + sigma * (m.mean(-1, keepdims=True) - m)
            if step < _NEWTON_STEPS:
                # −(diag(u − σ̂) + (σ̂/N) 11ᵀ)⁻¹ by Sherman and Morrison.
                inverse = 1 / (sigma - pieces.slope(m))
                own, share = force * inverse, sigma / (1 - sigma * inverse.mean(-1, keepdims=True))
                m = m + own + share * own.mean(-1, keepdims=True) * inverse
        is_inside = ((m >= low - _NEAR * pieces.size) & (m <= high + _NEAR * pieces.size)).all(-1)
        is_zero = np.abs(force).max(-1) <= pieces.zero + _ZERO * sigma * pieces.size
    return m, is_inside & is_zero


def _distinct(m: Array, residual: Array, size: float) -> NDArray[np.int64]:
    """Indices of the states to keep, sorted by their means; of equal states the one with the smallest residual."""
    # States that are one are neighbours along any direction, and few others are along an odd one.
    direction = np.cos(np.arange(m.shape[1]) ** 2 + 1)
    along = m @ direction
    order = np.argsort(along)
    m, residual, along = m[order], residual[order], along[order]
    is_kept, reach = np.ones(len(m), bool), _SAME * size * np.abs(direction).sum()
    for shift in range(1, len(m)):
        first = np.flatnonzero(along[shift:] - along[:-shift] <= reach)
        if not len(first):
            break
        first = first[np.abs(m[first] - m[first + shift]).max(-1) <= _SAME * size]
        is_kept[np.where(residual[first] <= residual[first + shift], first + shift, first)] = False
    m, order = m[is_kept], order[is_kept]
    mean = np.round(m.mean(-1), 12)  # symmetric states, of equal means, are sorted by the first of their m_i
    return order[np.lexsort((*m.T[::-1], mean))]


def _dataset(system: System, dims: tuple[str, ...], variables: dict[str, Any]) -> xr.Dataset:
    names = {
        "m": "order parameter $m_i$",
        "branch": "branch",
        "mean": r"mean order parameter $\langle m \rangle$",
        "top_eigenvalue": r"top eigenvalue of the Jacobian $\lambda$",
        "stable": "stable",
        "residual": r"largest $|\dot{m}_i|$",
    }
    variables = variables | {"stable": np.asarray(variables["top_eigenvalue"]) < 0}
    shapes = {name: (*dims, AGENT) if name in ("m", "branch") else dims for name in names}
    return xr.Dataset(
        {name: (shapes[name], variables[name], {"long_name": names[name]}) for name in names if name in variables},
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
