"""One-step methods for ordinary differential equations, and the loop that controls their steps.

Two methods, chosen by measurement (docs/decisions/0012):

- `rodas4`, a Rosenbrock method of order 4(3), L-stable, for the complete graph. There the Jacobian is diagonal plus
  rank one, so that its linear systems cost O(N), and steps do not shrink as the coupling grows.
- `dormand_prince`, the explicit Runge–Kutta method of order 5(4), for everything else.

A state is an array whose first axis counts independent copies ("rows"). All rows take the same steps, and a step is
accepted if the error of the worst row is within tolerance. A row that cannot be continued (it blows up in finite time,
say) is given up: it becomes NaN from there on, and no longer counts.

Sources:
    J. R. Dormand, P. J. Prince, A family of embedded Runge–Kutta formulae, J. Comput. Appl. Math. 6 (1980).
    E. Hairer, G. Wanner, Solving Ordinary Differential Equations II (1996), section IV.7: RODAS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
# Weights of order 5 less those of order 4.
_DIFFERENCE = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

_GAMMA = 0.25
_RODAS_A = (
    (),
    (1.544,),
    (0.9466785280815826, 0.2557011698983284),
    (3.314825187068521, 2.896124015972201, 0.9986419139977817),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1.0),
)
_RODAS_C = (
    (),
    (-5.6688,),
    (-2.430093356833875, -0.2063599157091915),
    (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
    (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
    (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054),
)


class Step(NamedTuple):
    """What one step gives: the new state, its slope, and an estimate of the error."""

    state: Any
    slope: Any
    error: Any


class Stepper(NamedTuple):
    """A one-step method for one equation.

    Attributes:
        step: (time, state, slope there, step size) → `Step`.
        order: its errors per step fall as this power of the step, one more than the order of the lower formula.
    """

    step: Callable[[Any, Any, Any, Any], Step]
    order: int


def _combination(weights: tuple[float, ...], values: list[Any]) -> Any:
    return sum(w * v for w, v in zip(weights, values, strict=True) if w != 0.0)


def dormand_prince(field: Callable[[Any, Any], Any]) -> Stepper:
    """The stepper of order 5(4) for y' = field(t, y)."""

    def step(t: Any, y: Any, slope: Any, h: Any) -> Step:
        slopes, new = [slope], y
        for weights, node in zip(_STAGES, _NODES, strict=True):
            new = y + h * _combination(weights, slopes)
            slopes.append(field(t + node * h, new))
        return Step(new, slopes[-1], h * _combination(_DIFFERENCE, slopes))

    return Stepper(step, order=5)


def rodas4(field: Callable[[Any, Any], Any], diagonal: Callable[[Any], Any], mean_coupling: Any) -> Stepper:
    """The L-stable stepper of order 4(3) for y' = field(t, y) with Jacobian diag(`diagonal`(y)) + (c/N) 11ᵀ.

    Args:
        field: independent of t; (t, y) → y', agents on the last axis.
        diagonal: y → the diagonal part of the Jacobian, of the same shape.
        mean_coupling: c, broadcastable against y with one agent.
    """

    def step(t: Any, y: Any, slope: Any, h: Any) -> Step:
        inverse = 1 / (1 / (h * _GAMMA) - diagonal(y))
        # (D − (c/N) 11ᵀ) x = b by Sherman and Morrison, for D = 1/inverse.
        share = mean_coupling / (1 - mean_coupling * inverse.mean(-1, keepdims=True))

        def solve(b: Any) -> Any:
            x = b * inverse
            return x + inverse * (share * x.mean(-1, keepdims=True))

        stages, at = [solve(slope)], y
        for a, c in zip(_RODAS_A[1:], _RODAS_C[1:], strict=True):
            at = y + _combination(a, stages)
            stages.append(solve(field(t, at) + _combination(c, stages) / h))
        new = at + stages[-1]
        return Step(new, field(t + h, new), stages[-1])

    return Stepper(step, order=4)


class _Progress(NamedTuple):
    time: Any
    state: Any
    slope: Any
    step_size: Any
    alive: Any
    num_steps: Any


def row_errors(error: Any, before: Any, after: Any, rtol: Any, atol: Any) -> Any:
    """Root mean square of error / (atol + rtol max(|before|, |after|)) over each row, shape (rows,)."""
    scaled = error / (atol + rtol * jnp.maximum(abs(before), abs(after)))
    return jnp.sqrt((scaled**2).reshape(len(scaled), -1).mean(-1))


def solve(
    field: Callable[[Any, Any], Any],
    stepper: Stepper,
    initial: Any,
    times: Any,
    *,
    rtol: Any,
    atol: Any,
    max_steps: int,
) -> tuple[Any, Any]:
    """The states at `times`, times[0] being that of `initial`.

    Args:
        field: (t, y) → y'.
        stepper: the method, made for `field`.
        initial: shape (rows, ...).
        times: increasing, shape (times,).
        rtol: tolerated error relative to the state's size, in the root mean square over a row.
        atol: tolerated absolute error.
        max_steps: tried steps after which all rows are given up.

    Returns:
        The states, shape (times, rows, ...), NaN where a row was given up; and the number of tried steps, which is
        `max_steps` or more if that is why.
    """
    smallest = 1e-14 * (times[-1] - times[0]) + 4e-16 * jnp.maximum(abs(times[0]), abs(times[-1]))

    def advance(end: Any) -> Callable[[_Progress], _Progress]:
        def one_step(p: _Progress) -> _Progress:
            h = jnp.minimum(p.step_size, end - p.time)
            is_last = h >= end - p.time
            new = stepper.step(p.time, p.state, p.slope, h)
            errors = row_errors(new.error, p.state, new.state, rtol, atol)
            within = errors <= 1  # False for NaN
            # A row whose error stays too large however small the step has no future, nor has any after max_steps.
            alive = p.alive & (within | (h > smallest)) & (p.num_steps < max_steps)
            worst = jnp.where(alive, jnp.where(jnp.isfinite(errors), errors, jnp.inf), 0).max()
            accepted = worst <= 1
            factor = jnp.clip(0.9 * jnp.maximum(worst, 1e-12) ** (-1 / stepper.order), 0.2, 5.0)
            proposed = h * factor
            # A step cut short to meet an output time says little about the next one.
            kept = jnp.where(accepted & is_last, jnp.maximum(p.step_size, proposed), proposed)
            return _Progress(
                time=jnp.where(accepted, jnp.where(is_last, end, p.time + h), p.time),
                state=jnp.where(accepted, new.state, p.state),
                slope=jnp.where(accepted, new.slope, p.slope),
                step_size=jnp.maximum(kept, smallest),
                alive=alive,
                num_steps=p.num_steps + 1,
            )

        return one_step

    def to_next(p: _Progress, end: Any) -> tuple[_Progress, Any]:
        p = jax.lax.while_loop(lambda q: (q.time < end) & q.alive.any(), advance(end), p)
        return p, jnp.where(p.alive.reshape(-1, *[1] * (p.state.ndim - 1)), p.state, jnp.nan)

    first = _Progress(
        time=times[0],
        state=initial,
        slope=field(times[0], initial),
        # A small first step costs a few, for it grows fivefold at a time.
        step_size=1e-3 * jnp.minimum(1.0, times[-1] - times[0]),
        alive=jnp.ones(len(initial), bool),
        num_steps=jnp.asarray(0),
    )
    last, states = jax.lax.scan(to_next, first, times[1:])
    return jnp.concatenate([initial[None], states]), last.num_steps
