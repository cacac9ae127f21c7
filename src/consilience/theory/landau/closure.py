"""All stationary states on the complete graph for given pieces: the closure ⟨m⟩ = M, solved with nothing missed.

On its piece of g_i (see `pieces`) agent i's m_i is a monotone function of the pull c = σ̂M, so that a choice of pieces,
one for each agent, leaves one equation in one unknown,

    H(c) = ⟨−V'_i(m_i(c))⟩ = σ̂⟨m(c)⟩ − c = 0,   H' = ⟨u_i/(σ̂ − u_i)⟩   with   u_i = −V''_i(m_i(c)),

on the interval of c where all the pieces exist. On every part of it the values of m_i at the ends bound m_i, hence
u_i, hence H and H'. A part is dropped only if the bounds exclude a zero, and is no longer halved once H is monotone on
it; so a zero is missed only if rounding decides whether it exists.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from consilience.theory.landau.arguments import Array
from consilience.theory.landau.pieces import Pieces

_NARROWEST = 1e-13
"""Width, relative to the range of c, at which an interval is no longer halved: zeros closer than that are one."""
_MOST_UNDECIDED = 2**13
"""Intervals of one assignment beyond which none is halved any more. Dozens are usual; thousands are needed only where
drifts cancel to many digits over a whole range (δ of zero mean without weight decay, say), and decide nothing there."""
_SAME = 1e-7
"""Distance, relative to the largest |m|, of states that are one: near a fold m is known to the root of rounding."""
_NEAR = 1e-9
"""How far outside its interval, relative likewise, a state may be found: less than `_SAME`."""
_NEWTON_STEPS = 8
"""From where Newton's method converges quadratically, five reach rounding; it may take some to get there."""


@dataclass(frozen=True, eq=False)
class _Intervals:
    """Intervals of c on which pieces are looked at.

    Attributes:
        row: which assignment of pieces, shape (intervals,).
        c: the two ends, shape (intervals, 2).
        m: m_i(c) there, shape (intervals, 2, agents).
        h: H(c) there, shape (intervals, 2).
        noise: what rounding may leave of H there, shape (intervals, 2).
    """

    row: NDArray[np.int64]
    c: Array
    m: Array
    h: Array
    noise: Array

    def __getitem__(self, kept: NDArray[np.bool_] | NDArray[np.int64] | slice) -> _Intervals:
        return _Intervals(*(getattr(self, field.name)[kept] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[_Intervals]) -> _Intervals:
        """All intervals of all parts."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def width(self) -> Array:
        """Of c."""
        return self.c[:, 1] - self.c[:, 0]

    @property
    def crossing(self) -> NDArray[np.bool_]:
        """Whether H changes its sign, or is zero at the lower end: a zero at the upper one belongs to the next."""
        return (self.h[:, 0] == 0) | (np.sign(self.h[:, 0]) * np.sign(self.h[:, 1]) < 0)

    def halved(self, pieces: Pieces, rising: NDArray[np.bool_]) -> _Intervals:
        """All lower halves, then all upper ones; cut at c = 0 where it is inside, as m = 0 is a state of its own."""
        c = np.where((self.c[:, 0] < 0) & (self.c[:, 1] > 0), 0.0, self.c.mean(-1))
        m = pieces.inverse(c, self.m.min(1), self.m.max(1), rising[self.row])
        middle = (c, m, pieces.drift(m).mean(-1), pieces.noise(m))
        ends = (self.c, self.m, self.h, self.noise)
        lower = (np.stack([end[:, 0], new], 1) for end, new in zip(ends, middle, strict=True))
        upper = (np.stack([new, end[:, 1]], 1) for end, new in zip(ends, middle, strict=True))
        return _Intervals.joined([_Intervals(self.row, *lower), _Intervals(self.row, *upper)])


def stationary_states(pieces: Pieces, chosen: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """All stationary states on the pieces `chosen`.

    Args:
        pieces: of N agents.
        chosen: one piece for every agent, that it has; shape (assignments, agents).

    Returns:
        m and pieces, each of shape (states, agents). The same state may occur more than once.
    """
    rising = chosen % 2 == 0
    todo = _whole_ranges(pieces, chosen)
    # At an end of the range a zero that rounding has moved outside still counts.
    at_end = np.abs(todo.h) <= todo.noise
    rows, states = [np.repeat(todo.row, 2)[at_end.ravel()]], [todo.m[at_end]]
    todo = todo[todo.width > 0]
    brackets = [todo[:0]]
    while len(todo.row):
        lower, upper = _slope_bounds(pieces, todo, rising)
        least, most = _bounds(pieces, todo, lower, upper)
        noise = todo.noise.max(-1)
        is_monotone = (lower >= 0) | (upper <= 0)
        # Nothing more is to be learned where H is zero up to rounding throughout.
        is_last = (todo.width <= _NARROWEST * pieces.reach) | ((least >= -noise) & (most <= noise))
        is_last |= np.bincount(todo.row)[todo.row] > _MOST_UNDECIDED
        brackets.append(todo[(is_monotone | is_last) & todo.crossing])
        is_point = np.ptp(todo.m, axis=1).max(-1) <= _SAME * pieces.size
        touches = is_last & is_point & ~is_monotone & ~todo.crossing & (np.abs(todo.h).min(-1) <= noise)
        rows.append(todo.row[touches])
        states.append(todo.m[touches, np.abs(todo.h[touches]).argmin(-1)])
        left = ~is_monotone & ~is_last & (least <= noise) & (most >= -noise)
        todo = todo[left].halved(pieces, rising)
    found = _Intervals.joined(brackets)
    rows.append(found.row)
    states.append(_close_in(pieces, found, rising))
    return np.concatenate(states), chosen[np.concatenate(rows)]


def _whole_ranges(pieces: Pieces, chosen: NDArray[np.int64]) -> _Intervals:
    """The interval of c on which all pieces of an assignment exist, for those that have one."""
    agents = np.arange(chosen.shape[1])
    ends = np.stack([pieces.levels[agents, chosen], pieces.levels[agents, chosen + 1]], 1)
    begin = np.maximum(ends.min(1).max(-1), -pieces.reach)
    end = np.minimum(ends.max(1).min(-1), pieces.reach)
    row = np.flatnonzero(begin <= end + pieces.rounding)  # pieces that only touch do so up to rounding
    c = np.sort(np.stack([begin, end], 1)[row], 1)
    # Assignments share these few levels: every piece is inverted at each of them once.
    levels, where = np.unique(c, return_inverse=True)
    m = pieces.inverses(levels)[where.reshape(c.shape)[..., None], chosen[row][:, None], agents]
    return _Intervals(row, c, m, pieces.drift(m).mean(-1), pieces.noise(m))


def _slope_bounds(pieces: Pieces, intervals: _Intervals, rising: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Bounds of H' on every interval: from those of u_i, and from those of H'' = ⟨σ̂u_i'/(σ̂ − u_i)³⟩.

    The former are better near folds, where H' is infinite; the latter where agents of both signs of δ_i cancel.
    """
    sign, sigma = np.where(rising[intervals.row], 1.0, -1.0), pieces.coupling
    of_slope, of_curvature = pieces.extremes
    slopes = pieces.slope(intervals.m)
    least, most = _range(intervals, slopes, of_slope)
    flattest, steepest = _range(intervals, pieces.curvature(intervals.m), of_curvature)
    with np.errstate(all="ignore"):

        def gap(u: Array, sign: Array) -> Array:
            """σ̂ − u_i, whose sign rounding must not decide at a fold."""
            return sign * np.maximum(sign * (sigma - u), 0.0)

        def response(u: Array, sign: Array) -> Array:
            return (u / gap(u, sign)).mean(-1)

        cubes = gap(least, sign) ** -3, gap(most, sign) ** -3
        products = [sigma * curvature * cube for curvature in (flattest, steepest) for cube in cubes]
        second = np.min(products, 0).mean(-1), np.max(products, 0).mean(-1)
        lower, upper = _between(response(slopes, sign[:, None]), *second, intervals.width)
        return np.fmax(response(least, sign), lower), np.fmin(response(most, sign), upper)


def _range(intervals: _Intervals, values: Array, extremes: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The range of a function of m_i on every interval, from its values at both ends and its extremes within."""
    low, high = intervals.m.min(1), intervals.m.max(1)
    least, most = values.min(1), values.max(1)
    for m, value in extremes:
        inside = (low < m) & (m < high)
        least = np.where(inside, np.minimum(least, value), least)
        most = np.where(inside, np.maximum(most, value), most)
    return least, most


def _between(ends: Array, lower: Array, upper: Array, width: Array) -> tuple[Array, Array]:
    """Bounds of a function whose values at both ends are `ends`, and whose slope is between `lower` and `upper`."""
    (left, right), down, up = ends.T, np.minimum(lower, 0) * width, np.maximum(upper, 0) * width
    return np.fmax(left + down, right - up), np.fmin(left + up, right - down)


def _bounds(pieces: Pieces, intervals: _Intervals, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of H on every interval, from those of H' and of m_i."""
    least, most = _between(intervals.h, lower, upper, intervals.width)
    first, last = intervals.c.T
    slack = 1e-12 * pieces.reach  # σ̂⟨m⟩ − c cancels to some units in the last place of c
    least = np.maximum(least, pieces.coupling * intervals.m.min(1).mean(-1) - last - slack)
    most = np.minimum(most, pieces.coupling * intervals.m.max(1).mean(-1) - first + slack)
    return least, most


def _close_in(pieces: Pieces, brackets: _Intervals, rising: NDArray[np.bool_]) -> Array:
    """m at the zero of H in every bracket, shape (brackets, agents): Newton's method, or first another halving."""
    result, todo = np.empty(brackets.m[:, 0].shape), np.arange(len(brackets.row))
    while len(todo):
        m, has_converged = _newton(pieces, brackets)
        is_exact = brackets.h[:, 0] == 0
        m, has_converged = np.where(is_exact[:, None], brackets.m[:, 0], m), has_converged | is_exact
        is_narrow = brackets.width <= _NARROWEST * pieces.reach
        result[todo] = np.where(has_converged[:, None], m, brackets.m.mean(1))
        left = ~has_converged & ~is_narrow
        todo, count = todo[left], int(left.sum())
        halves = brackets[left].halved(pieces, rising)
        brackets = halves[np.arange(count) + np.where(halves.crossing[:count], 0, count)]
    return result


def _newton(pieces: Pieces, brackets: _Intervals) -> tuple[Array, NDArray[np.bool_]]:
    """Newton's method for all m_i at once, and whether it has converged within the bracket that it started from.

    In the m_i, unlike in c, nothing is singular at a fold, and states are found to rounding there too.
    """
    sigma, m = pieces.coupling, brackets.m.mean(1)
    low, high = brackets.m.min(1), brackets.m.max(1)

    def force(m: Array) -> Array:
        return pieces.drift(m) + sigma * (m.mean(-1, keepdims=True) - m)

    with np.errstate(all="ignore"):
        step = np.zeros_like(m)
        for _ in range(_NEWTON_STEPS):
            # −(diag(u − σ̂) + (σ̂/N) 11ᵀ)⁻¹ by Sherman and Morrison.
            inverse = 1 / (sigma - pieces.slope(m))
            own, share = force(m) * inverse, sigma / (1 - sigma * inverse.mean(-1, keepdims=True))
            step = own + share * own.mean(-1, keepdims=True) * inverse
            m = m + step
        residual = np.abs(force(m)).max(-1)
    near = _NEAR * pieces.size
    is_inside = ((m >= low - near) & (m <= high + near) & (abs(step) <= near)).all(-1)
    return m, is_inside & (residual <= pieces.rounding + 1e-13 * pieces.reach)  # σ̂(M − m_i) is rounded too


def distinct(m: Array, residual: Array, size: float) -> NDArray[np.int64]:
    """Which states to keep, sorted by their means: of equal ones, that with the smallest residual.

    Args:
        m: shape (states, agents).
        residual: shape (states,).
        size: states are equal that differ by less than 1e-7 of it.

    Example:
        >>> distinct(np.array([[2.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), np.array([0.0, 1e-9, 0.0]), 1.0).tolist()
        [2, 0]
    """
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
    mean = np.round(m.mean(-1), 12)  # symmetric states, of equal means, are sorted by their first m_i
    return order[np.lexsort((*m.T[::-1], mean))]
