"""`integrate`: the order parameters of all agents in time, for any batch of realizations and couplings at once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs import Graph
from consilience.theory.landau.arguments import (
    System,
    as_callable,
    check_positive,
    check_system,
    check_times,
    numbers,
    shown,
)
from consilience.theory.landau.dynamics import (
    Triadic,
    graph_pull,
    local_drift,
    local_slope,
    mean_field_pull,
    triadic_pull,
)
from consilience.theory.landau.solvers import dormand_prince, rodas4, solve

_MAX_STEPS = 1_000_000
_NUMBERS_AT_ONCE = 5000
"""Some twenty arrays of as many double-precision numbers fit into a cache of 1 MB."""


@functools.partial(jax.jit, static_argnames=("depth",))
def _on_complete_graph(initial: Any, rows: dict[str, Any], times: Any, rtol: Any, atol: Any, *, depth: int) -> Any:
    """Constant coupling on the complete graph: implicit, in O(N). `rows` hold (rows, agents) or (rows, 1) arrays."""
    local = {name: rows[name] for name in ("delta", "weight_decay", "second_moment")}
    pull = rows["coupling"]

    def field(t: Any, m: Any) -> Any:
        return local_drift(m, **local, depth=depth) + pull * mean_field_pull(m)

    def diagonal(m: Any) -> Any:
        return local_slope(m, **local, depth=depth) - pull

    stepper = rodas4(field, diagonal, pull)
    return solve(field, stepper, initial, times, rtol=rtol, atol=atol, max_steps=_MAX_STEPS)


@dataclass(frozen=True)
class Form:
    """What the compiled program depends on; all else are its arguments.

    Attributes:
        local: −∇ of an agent's own potential.
        depth: D.
        coupling_at: σ̂(t), if it changes.
        adjacency_at: q(t), if it changes.
        is_uniform: whether all agents listen to all others with the same, constant weight.
        is_triadic: whether there is a coupling of three agents.
    """

    local: Callable[..., Any]
    depth: int
    coupling_at: Callable[[Any], Any] | None = None
    adjacency_at: Callable[[Any], Any] | None = None
    is_uniform: bool = False
    is_triadic: bool = False


@functools.partial(jax.jit, static_argnames=("form",))
def _on_any_graph(
    initial: Any, rows: dict[str, Any], adjacency: Any, triadic: Any, times: Any, rtol: Any, atol: Any, *, form: Form
) -> Any:
    """Any graph, couplings that change in time, and three agents at a time: explicit."""
    local = {name: rows[name] for name in ("delta", "weight_decay", "second_moment")}

    def field(t: Any, m: Any) -> Any:
        sigma = rows["coupling"] if form.coupling_at is None else form.coupling_at(t)
        weights = adjacency if form.adjacency_at is None else jnp.asarray(form.adjacency_at(t), m.dtype)
        pull = mean_field_pull(m, adjacency[0, -1]) if form.is_uniform else graph_pull(m, weights)
        result = form.local(m, **local, depth=form.depth) + sigma * pull
        if form.is_triadic:
            result = result + triadic["coupling"] * triadic_pull(m, weights, triadic["selectivity"])
        return result

    return solve(field, dormand_prince(field), initial, times, rtol=rtol, atol=atol, max_steps=_MAX_STEPS)


def integrate(
    delta: Any,
    initial: Any,
    *,
    depth: int,
    coupling: Any,
    weight_decay: Any = 1e-3,
    times: Any,
    graph: Graph | Callable[[Any], Any] | None = None,
    second_moment: Any = 1.0,
    triadic: Triadic | None = None,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> np.ndarray:
    """Solve Eq. (4) of paper 001 forward in time.

    Realizations of one coupling advance as arrays of many, with steps of their own for each array.

    Args:
        delta: δ_i, shape (…, agents).
        initial: m_i at times[0], broadcastable against `delta`.
        depth: D ≥ 0, hidden layers.
        coupling: σ̂ ≥ 0, broadcastable against the batch shape (…); or a function of time σ̂(t) that JAX can trace, for
            the whole batch.
        weight_decay: γ̂ ≥ 0, broadcastable against the batch shape.
        times: increasing, shape (times,), in units of the theory's time (t = 2η · rounds for networks trained with
            squared loss, docs/theory.md).
        graph: who listens to whom; the complete graph with unit weights if None; or a function of time that gives the
            weights q_ij(t), shape (agents, agents), and that JAX can trace.
        second_moment: s_i ≥ 0, broadcastable against `delta`; 1 in the paper.
        triadic: a coupling of three agents besides, in O(N³).
        rtol: tolerated error relative to |m|, per step, in the root mean square over the agents of the worst
            realization.
        atol: tolerated absolute error.

    Returns:
        m, shape (times, …, agents), double precision. A realization that cannot be continued is NaN from then on, and
        the others do not notice: where s_i = 0 nothing bounds m, and a function of time may stop giving numbers.

    Raises:
        InvalidSpec: for values that cannot be (negative depth, δ that is not finite, times out of order, ...), or if
            it would take more than a million steps.
        IncompatiblePair: for shapes or a graph that do not fit.

    Example:
        >>> m = integrate([1.0, 1.0], [0.1, -0.2], depth=1, coupling=0.0, weight_decay=0.0, times=[0.0, 50.0])
        >>> m[-1].round(6).tolist()                      # uncoupled, each agent falls into a well of its own
        [1.0, -1.0]
        >>> m = integrate([1.0, 1.0], [0.1, -0.2], depth=1, coupling=5.0, weight_decay=0.0, times=[0.0, 50.0])
        >>> m[-1].round(6).tolist()                      # coupled, both into the same
        [-1.0, -1.0]

    Source:
        Paper 001, Eq. (4) = (A11); Appendix B for its own protocol.
    """
    coupling_at, adjacency_at = as_callable(coupling), as_callable(graph)
    times = check_times(times)
    system = check_system(
        delta,
        initial,
        depth=depth,
        coupling=0.0 if coupling_at else coupling,
        weight_decay=weight_decay,
        graph=None if adjacency_at else graph,  # pyright: ignore[reportArgumentType]
        second_moment=second_moment,
        triadic=triadic,
    )
    is_constant = coupling_at is None and adjacency_at is None
    form = Form(
        local=local_drift,
        depth=system.depth,
        coupling_at=coupling_at,
        adjacency_at=adjacency_at,
        is_uniform=system.uniform_weight is not None and adjacency_at is None,
        is_triadic=triadic is not None,
    )
    rows = {
        "delta": system.delta.reshape(-1, system.num_agents),
        "second_moment": system.second_moment.reshape(-1, system.num_agents),
        "coupling": system.coupling.reshape(-1, 1),
        "weight_decay": system.weight_decay.reshape(-1, 1),
    }
    check_functions_of_time(form, times, system.num_agents)
    initial = system.initial.reshape(-1, system.num_agents)
    tolerances = check_positive("rtol", rtol), check_positive("atol", atol)
    if system.uniform_weight is not None and is_constant and triadic is None:
        rows["coupling"] = rows["coupling"] * system.uniform_weight

        def on_complete_graph(initial: np.ndarray, rows: dict[str, np.ndarray], times: np.ndarray) -> Any:
            return _on_complete_graph(initial, rows, times, *tolerances, depth=form.depth)

        m = solve_rows(on_complete_graph, initial, rows, times)
    else:
        m = solve_rows(on_any_graph(system, form, tolerances, triadic), initial, rows, times)
    return m.reshape(len(m), *system.initial.shape)


def on_any_graph(
    system: System, form: Form, tolerances: tuple[float, float], triadic: Triadic | None = None
) -> Callable[[np.ndarray, dict[str, np.ndarray], np.ndarray], Any]:
    """The explicit solver of a system: (initial, rows, times) → states and number of steps."""
    options = {} if triadic is None else {"coupling": triadic.coupling, "selectivity": triadic.selectivity}

    def solver(initial: np.ndarray, rows: dict[str, np.ndarray], times: np.ndarray) -> Any:
        return _on_any_graph(initial, rows, system.adjacency, options, times, *tolerances, form=form)

    return solver


def solve_rows(
    solver: Callable[[np.ndarray, dict[str, np.ndarray], np.ndarray], Any],
    initial: np.ndarray,
    rows: dict[str, np.ndarray],
    times: np.ndarray,
) -> np.ndarray:
    """The states of all rows at all times, shape (times, rows, ...)."""
    result = np.empty((len(times), *initial.shape))
    result[0] = initial
    if len(times) > 1 and initial.size:
        with jax.enable_x64(True):
            for group in _groups(rows["coupling"].ravel(), row_size=initial[0].size):
                part = {name: values[group] for name, values in rows.items()}
                states, num_steps = solver(initial[group], part, times)
                if num_steps >= _MAX_STEPS:
                    raise InvalidSpec(
                        f"Integrating up to t={times[-1]:g} takes more than {_MAX_STEPS:,} steps at coupling="
                        f"{part['coupling'].max():g}: the explicit method needs steps below N/(σ̂ λ_max) on this graph. "
                        "Write a smaller coupling or an earlier end; landau.equilibrium finds stationary states on any "
                        "graph without integrating."
                    )
                result[:, group] = np.asarray(states)
    return result


def _groups(couplings: np.ndarray, row_size: int) -> Iterator[np.ndarray]:
    """Indices of rows that are solved together: of equal coupling, and few enough for the processor's cache.

    Rows that are solved together share their steps, so that the stiffest coupling should not set those of the others,
    nor the most delicate realization those of all. Groups of one coupling have one size (some rows are in two of them,
    to fill up the last), so that one compiled program serves them all.
    """
    for value in np.unique(couplings):
        members = np.flatnonzero(couplings == value)
        count = math.ceil(len(members) * row_size / _NUMBERS_AT_ONCE)
        size = math.ceil(len(members) / count)
        for first in range(0, len(members), size):
            yield members[min(first, len(members) - size) :][:size]


def check_functions_of_time(form: Form, times: np.ndarray, num_agents: int) -> None:
    """Refuse functions of time that cannot be: judged by what they give at the times that are asked for."""
    checks = (
        ("coupling", form.coupling_at, (), "A coupling per realization cannot change in time: integrate one by one."),
        ("graph", form.adjacency_at, (num_agents, num_agents), "It gives the weights q_ij(t) of all pairs of agents."),
    )
    for name, function, shape, advice in checks:
        if function is None:
            continue
        if not isinstance(function, Hashable):
            raise InvalidSpec(
                f"{name}={shown(function)} cannot be hashed, so that there is no telling whether its program has been "
                "compiled before. Write a plain function, or a frozen dataclass with __call__."
            )
        for time in times:
            with jax.enable_x64(True):  # as it will be called
                given = function(time)
            value = numbers(f"{name}({time:g})", given, least=0, meaning="agents attract each other at every moment.")
            if value.shape != shape:
                raise IncompatiblePair(
                    f"{name}({time:g}) has shape {value.shape}; it has to be {shape or 'a single number'} at every "
                    f"moment, for {num_agents} agents. {advice}"
                )


def time_average(m: np.ndarray, times: Any, *, after: float) -> np.ndarray:
    """The average of a trajectory over times ≥ `after`, by the trapezoidal rule.

    Args:
        m: any quantity along a trajectory, shape (times, ...).
        times: increasing, shape (times,).
        after: where the average begins; the first of the times from there on counts.

    Returns:
        Shape (...).

    Raises:
        InvalidSpec: if `after` leaves no time to average over.
        IncompatiblePair: if `m` does not have as many entries as there are times.

    Example:
        >>> time_average(np.array([9.0, 1.0, 3.0]), [0.0, 1.0, 2.0], after=1.0).item()
        2.0
    """
    times = check_times(times)
    if len(m) != len(times):
        raise IncompatiblePair(
            f"m has shape {np.shape(m)}, and there are {len(times)} times. Give the times of the trajectory, one for "
            "each entry of its first axis."
        )
    kept = times >= after
    if not kept.any():
        raise InvalidSpec(f"after={after:g} leaves none of the times up to {times[-1]:g}. Write after={times[-1]:g}.")
    if kept.sum() == 1:
        return np.asarray(m[-1])
    return np.trapezoid(m[kept], times[kept], axis=0) / (times[-1] - times[kept][0])
