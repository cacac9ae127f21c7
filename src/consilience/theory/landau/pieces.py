"""The monotone pieces of an agent's equation of state on the complete graph.

With the mean M = ⟨m⟩ given, agent i is stationary if g_i(m_i) = σ̂M for

    g_i(m) = s_i m^(2D+1) − δ_i m^D + (γ̂ + σ̂) m.

Between the points where it turns, g_i is monotone. Its pieces, counted from below, rise (0, 2, 4: stable at fixed M)
and fall (1, 3: unstable) in turn. There is 1 at D = 0, at most 3 at D = 1 and even D, at most 5 at odd D ≥ 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import InvalidSpec
from consilience.theory.landau.arguments import Array, System
from consilience.theory.landau.dynamics import local_drift, local_slope

_EPS = float(np.finfo(float).eps)
_LEAST = 1e-18
"""Error of m, relative to the largest that it may be, that does not matter where m vanishes."""
_MAX_STEPS = 200
"""Far above the hundred or so halvings of a bracket that are ever taken."""


def monotone_zero(
    function: Callable[[Array], tuple[Array, Array]], low: Array, high: Array, *, rising: Any, least: float = 0.0
) -> Array:
    """The zero of a monotone function, elementwise and to rounding, by Newton's steps or by halving a bracket.

    Args:
        function: x → its value and its slope.
        low: lower end of the bracket, broadcastable against `high`.
        high: its upper end.
        rising: whether the function rises, broadcastable likewise.
        least: absolute error that does not matter, where the zero is much smaller than this.

    Example:
        >>> float(monotone_zero(lambda x: (x * x - 9, 2 * x), np.array(0.0), np.array(4.0), rising=True))
        3.0
    """
    x, last = (low + high) / 2, high - low
    for _ in range(_MAX_STEPS):
        value, slope = function(x)
        above = (value > 0) == rising
        low, high = np.where(above, low, x), np.where(above, x, high)
        with np.errstate(all="ignore"):
            step = np.where(value == 0, 0.0, value / slope)
        new = np.clip(x - step, low, high)
        # Rounding of the value leaves some units in the last place, which further steps would only shuffle.
        is_close = abs(step) <= 16 * _EPS * abs(x) + least
        # A step that does not halve the one before it goes astray, and so does one that points out of the bracket.
        is_useful = is_close | ((abs(new - x) <= last / 2) & (new != x))
        new = np.where(is_useful, new, (low + high) / 2)
        x, last = new, abs(new - x)
        if (is_close | (high - low <= 2 * _EPS * abs(x) + least)).all():
            break
    return x


def turning_points(delta: Array, second_moment: Array, linear: Array, depth: int) -> Array:
    """Where s m^(2D+1) − δ m^D + κ m turns: where an agent at a fixed pull gains or loses its stability.

    Its slope on the side where it can vanish, as a function of x = |m|, is κ ≥ 0 at zero (for D ≥ 2), falls until
    x^(D+1) = (D−1)|δ|/(2(2D+1)s), and has risen to κ again where x^(D+1) = D|δ|/((2D+1)s).

    Args:
        delta: δ, any shape (…).
        second_moment: s, broadcastable against it; 0 only where δ = 0.
        linear: κ ≥ 0, weight decay and coupling together, broadcastable likewise.
        depth: D.

    Returns:
        Increasing, +∞ where there are fewer: shape (…, 0) at D = 0, (…, 4) at odd D ≥ 3, else (…, 2).

    Example:
        >>> turning_points(np.array([3.0, -3.0]), np.array(1.0), np.array(0.0), 1).tolist()
        [[-1.0, 1.0], [inf, inf]]
    """
    delta, second_moment, linear = np.broadcast_arrays(delta, second_moment, linear)
    if depth == 0:
        return np.empty((*delta.shape, 0))
    size = np.abs(delta) if depth % 2 == 0 else np.maximum(delta, 0.0)
    ratio = size / np.where(second_moment > 0, second_moment, 1.0)
    lowest, end = ((k * ratio / (2 * depth + 1)) ** (1 / (depth + 1)) for k in ((depth - 1) / 2, depth))

    def slope(x: Array) -> tuple[Array, Array]:
        value = linear - local_slope(x, size, depth=depth, weight_decay=0.0, second_moment=second_moment)
        second = 2 * (2 * depth + 1) * second_moment * x ** (2 * depth - 1)
        return value, depth * (second - (depth - 1) * size * x ** max(depth - 2, 0))

    exists = slope(lowest)[0] < 0
    points = [monotone_zero(slope, lowest, end, rising=True)]
    if depth > 1:
        inner = monotone_zero(slope, np.zeros_like(lowest), lowest, rising=False, least=1e-20)
        # With κ = 0 it is at zero, where at odd D the slope vanishes but keeps its sign.
        points.append(np.where(linear > 0, inner, 0.0 if depth % 2 == 0 else np.inf))
    signs = [np.where(delta < 0, -1.0, 1.0)] if depth % 2 == 0 else [-1.0, 1.0]
    signed = [np.where(exists & np.isfinite(x), sign * x, np.inf) for x in points for sign in signs]
    return np.sort(np.stack(signed, -1), -1)


def check_bounded(system: System) -> None:
    """Refuse agents whose order parameter nothing bounds."""
    without = (system.second_moment == 0) & (system.delta != 0)
    if without.any():
        where = np.unravel_index(np.argmax(without), without.shape)
        raise InvalidSpec(
            f"second_moment holds 0 where delta holds {system.delta[where]:g}: inputs that vanish correlate with "
            "nothing, and nothing would bound the agent's order parameter. Write s_i > 0, or δ_i = 0 as well for an "
            "agent without data."
        )


@dataclass(frozen=True, eq=False)
class Pieces:
    """The functions g_i of all agents of one population, cut where they turn.

    Attributes:
        system: whose functions they are; no batch of systems.
        coupling: σ̂.
        size: no stationary state has an |m_i| above it.
        reach: nor a |σ̂M| above this.
        ends: where pieces begin and end, shape (agents, pieces + 1); missing pieces have no length.
        levels: g_i there, likewise.
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
    def of(cls, system: System) -> Pieces:
        """Those of `system`.

        Raises:
            InvalidSpec: if nothing bounds some agent, or nothing moves it.
        """
        check_bounded(system)
        delta, second, depth = system.delta, system.second_moment, system.depth
        coupling, linear = float(system.coupling), float(system.coupling + system.weight_decay)
        if linear == 0 and (second == 0).any():
            raise InvalidSpec(
                f"second_moment[{int(np.argmin(second))}]=0 without weight decay and coupling: nothing moves this "
                "agent, and every m is stationary. Write weight_decay > 0 or coupling > 0."
            )
        has_data = second > 0
        ratio = np.abs(delta) / np.where(has_data, second, 1.0)
        # The others pull the agent with the largest |m| back, so that its own drift −V' leads outward, or vanishes.
        size = float((ratio ** (1 / (depth + 1))).max())
        reach = coupling * size * (1 + 1e-6)
        # Where half of s|m|^(2D+1) exceeds the reach, and the other half |δ m^D|, g_i is beyond the reach.
        far = (2 * reach / np.where(has_data, second, 1.0)) ** (1 / (2 * depth + 1))
        bound = np.maximum(far, (2 * ratio) ** (1 / (depth + 1)))
        bound = np.where(has_data, bound, 2 * reach / (linear or 1.0))[:, None]
        inner = turning_points(delta, second, np.asarray(linear), depth)
        ends = np.concatenate([-bound, np.minimum(inner, bound), bound], -1)
        levels = coupling * ends - _drift(system, ends.T).T
        return cls(system, coupling, size, reach, ends, levels, 1 + np.isfinite(inner).sum(-1))

    @property
    def most(self) -> int:
        """The most pieces that an agent may have at this depth."""
        return self.ends.shape[1] - 1

    @cached_property
    def rounding(self) -> float:
        """A bound, some hundred units in the last place, of what rounding leaves of −V' at any stationary state."""
        s = self.system
        terms = np.abs(s.delta) * self.size**s.depth + s.second_moment * self.size ** (2 * s.depth + 1)
        return 1e-13 * float(terms.max() + s.weight_decay * self.size)

    @cached_property
    def extremes(self) -> tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]]:
        """Where u_i, and where u_i', may be extremal, with the values there: pairs of arrays of shape (agents,)."""
        s, d = self.system, self.system.depth
        ratio = np.abs(s.delta) / np.where(s.second_moment > 0, s.second_moment, 1.0)
        shares = (d - 1) / (2 * (2 * d + 1)), (d - 1) * (d - 2) / (2 * (2 * d + 1) * (2 * d - 1))
        first, second = ((max(share, 0.0) * ratio) ** (1 / (d + 1)) for share in shares)
        return (
            [(m, self.slope(m)) for m in (-first, 0 * first, first)],
            [(m, self.curvature(m)) for m in (-second, 0 * second, second)],
        )

    def drift(self, m: Array) -> Array:
        """−V'_i, shape (…, agents)."""
        return _drift(self.system, m)

    def noise(self, m: Array) -> Array:
        """What rounding may leave of ⟨−V'_i⟩, shape (…): some units in the last place of the terms it sums."""
        s = self.system
        terms = -local_drift(
            np.abs(m), -np.abs(s.delta), depth=s.depth, weight_decay=s.weight_decay, second_moment=s.second_moment
        )
        # Where m_i vanishes it is known to `_LEAST` only.
        return 16 * _EPS * terms.mean(-1) + 1e-3 * self.rounding

    def slope(self, m: Array) -> Array:
        """u_i = −V''_i, shape (…, agents)."""
        s = self.system
        return local_slope(m, s.delta, depth=s.depth, weight_decay=s.weight_decay, second_moment=s.second_moment)

    def curvature(self, m: Array) -> Array:
        """u_i' = −V'''_i, shape (…, agents)."""
        s, d = self.system, self.system.depth
        stiffening = 2 * d * (2 * d + 1) * s.second_moment * m ** max(2 * d - 1, 0)
        return d * (d - 1) * s.delta * m ** max(d - 2, 0) - stiffening

    def inverse(self, level: Array, low: Array, high: Array, rising: NDArray[np.bool_]) -> Array:
        """Where g_i = `level`, of shape (…), between `low` and `high`: shape (…, agents)."""

        def function(m: Array) -> tuple[Array, Array]:
            return self.coupling * m - level[..., None] - self.drift(m), self.coupling - self.slope(m)

        return monotone_zero(function, low, high, rising=rising, least=_LEAST * self.size)

    def inverses(self, levels: Array) -> Array:
        """Where g_i = level on every piece, or the piece's nearer end: shape (levels, pieces, agents)."""
        low, high = self.ends[:, :-1].T, self.ends[:, 1:].T
        first, last = np.sort([self.levels[:, :-1].T, self.levels[:, 1:].T], axis=0)
        rising = np.arange(self.most)[:, None] % 2 == 0
        bottom, top = np.where(rising, (low, high), (high, low))
        level = np.broadcast_to(levels[:, None], (len(levels), self.most))
        outside = [level[..., None] <= first, level[..., None] >= last]
        return self.inverse(level, *(np.select(outside, [bottom, top], end) for end in (low, high)), rising=rising)


def _drift(system: System, m: Array) -> Array:
    return local_drift(
        m,
        system.delta,
        depth=system.depth,
        weight_decay=system.weight_decay,
        second_moment=system.second_moment,
    )
