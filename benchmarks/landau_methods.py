"""Which method suits the effective theory, and how its cost grows: the later parts of `landau.py`'s report."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from landau_protocol import ATOL, RTOL, SPAN, TIMES, WEIGHT_DECAY, Size

# (initial, δ, σ̂) → states at TIMES, and the number of steps: for all, for each realization, or unknown (NaN).
Method = Callable[[Any, Any, Any], tuple[Any, Any]]


def field_of(delta: Any, depth: int, coupling: Any) -> Callable[..., Any]:
    """Eq. (4) on the complete graph, for any method in JAX."""
    from consilience.theory.landau.dynamics import local_drift, mean_field_pull

    def field(t: Any, m: Any, args: Any = None) -> Any:
        return local_drift(m, delta, depth=depth, weight_decay=WEIGHT_DECAY) + coupling * mean_field_pull(m)

    return field


def our_methods(depth: int) -> dict[str, Method]:
    """`integrate` itself; its implicit method and its explicit one, on the same field and for all realizations."""
    import jax

    from consilience.theory import landau
    from consilience.theory.landau.dynamics import local_slope
    from consilience.theory.landau.solvers import dormand_prince, rodas4, solve

    options = {"rtol": RTOL, "atol": ATOL, "max_steps": 1_000_000}

    def integrate(initial: Any, delta: Any, coupling: Any) -> tuple[Any, Any]:
        return landau.integrate(
            delta, initial, depth=depth, coupling=coupling, weight_decay=WEIGHT_DECAY, times=TIMES, rtol=RTOL, atol=ATOL
        ), np.nan

    @jax.jit
    def implicit(initial: Any, delta: Any, coupling: Any) -> tuple[Any, Any]:
        def diagonal(m: Any) -> Any:
            return local_slope(m, delta, depth=depth, weight_decay=WEIGHT_DECAY) - coupling

        field = field_of(delta, depth, coupling)
        return solve(field, rodas4(field, diagonal, coupling), initial, TIMES, **options)

    @jax.jit
    def explicit(initial: Any, delta: Any, coupling: Any) -> tuple[Any, Any]:
        field = field_of(delta, depth, coupling)
        return solve(field, dormand_prince(field), initial, TIMES, **options)

    return {"integrate": integrate, "rodas4": implicit, "dormand_prince": explicit}


def diffrax_methods(depth: int) -> dict[str, Method]:
    """Of diffrax: Dopri5 for all realizations at once, as ours; the implicit ones realization by realization."""
    import diffrax
    import jax
    import jax.numpy as jnp

    def worst_row(error: Any) -> Any:
        return jnp.sqrt((error**2).mean(-1)).max()

    def with_solver(solver: Any) -> Method:
        def run(initial: Any, delta: Any, coupling: Any) -> tuple[Any, Any]:
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(field_of(delta, depth, coupling)), solver, 0.0, SPAN, None, initial, max_steps=None,
                saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
                stepsize_controller=diffrax.PIDController(rtol=RTOL, atol=ATOL, norm=worst_row),
            )  # fmt: skip
            return solution.ys, solution.stats["num_steps"]

        return run

    def each(method: Method) -> Method:
        return jax.jit(jax.vmap(method, in_axes=(0, 0, None), out_axes=(1, 0)))

    return {
        "diffrax Dopri5": jax.jit(with_solver(diffrax.Dopri5())),
        "diffrax Kvaerno3": each(with_solver(diffrax.Kvaerno3())),
        "diffrax Kvaerno5": each(with_solver(diffrax.Kvaerno5())),
    }


def medians(calls: list[Callable[[], Any]], repeats: int) -> np.ndarray:
    """Milliseconds of each call, which take turns; all have been called before."""
    taken = np.empty((repeats, len(calls)))
    for repeat, index in np.ndindex(taken.shape):
        start = time.perf_counter()
        calls[index]()
        taken[repeat, index] = time.perf_counter() - start
    return 1e3 * np.median(taken, axis=0)


def compare_methods(size: Size) -> tuple[str, dict[str, float]]:
    """A table: milliseconds and steps of each method at single couplings; and the largest median error of each."""
    import jax

    from consilience.theory import landau

    delta, initial = size.ensemble()
    rows, worst, titles = [], {}, []

    def prepared(method: Method, count: int, coupling: float) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(method(initial[:count], delta[:count], coupling))

    for depth in size.depths:
        methods = our_methods(depth) | (diffrax_methods(depth) if importlib.util.find_spec("diffrax") else {})
        counts = [size.implicit if "Kvaerno" in name else size.num_realizations for name in methods]
        titles = [f"{name} ({count})" for name, count in zip(methods, counts, strict=True)]
        for coupling in size.single:
            calls = [prepared(method, count, coupling) for method, count in zip(methods.values(), counts, strict=True)]
            true = landau.integrate(
                delta, initial, depth=depth, coupling=coupling, weight_decay=WEIGHT_DECAY, times=TIMES
            )
            with jax.enable_x64(True):
                found = [call() for call in calls]
                milliseconds = medians(calls, size.repeats)
            cells = []
            for title, value, (states, steps) in zip(titles, milliseconds, found, strict=True):
                error = np.asarray(states) - true[:, : states.shape[1]]
                worst[title] = max(worst.get(title, 0), np.median(np.sqrt((error**2).mean(-1)).max(0)))
                mean = np.asarray(steps).mean()
                cells.append(f"{value:.3g} ms" + (f", {mean:.0f}" if np.isfinite(mean) else ""))
            rows.append([str(depth), f"{coupling:g}", *cells])
    return wide_table([["D", "σ̂", *titles], *rows]), worst


def scaling(size: Size) -> tuple[str, dict[str, float]]:
    """A table: milliseconds per coupling of a sweep; and the exponents of its growth."""
    from consilience import graphs
    from consilience.theory import landau

    degree, couplings = 4, (0.1, 1.0, 10.0, 100.0)
    by_agents = [(n, size.num_realizations, None) for n in size.counts]
    by_realizations = [(size.num_agents, r, None) for r in size.counts]
    sparse = (size.num_agents, size.num_realizations, graphs.random_regular(size.num_agents, degree))
    cases: list[Any] = list(dict.fromkeys([*by_agents, *by_realizations, sparse]))

    def prepared(n: int, r: int, graph: Any) -> Callable[[], Any]:
        delta, initial = landau.gaussian_disorder(r, n), landau.uniform_start(r, n)
        return lambda: landau.sweep(delta, initial, depth=1, couplings=couplings, graph=graph)

    calls = [prepared(*case) for case in cases]
    for call in calls:
        call()
    cost = dict(zip(cases, medians(calls, size.repeats) / len(couplings), strict=True))
    exponents = {
        name: float(np.polyfit(np.log(size.counts), np.log([cost[case] for case in of_cases]), 1)[0])
        for name, of_cases in (("agents", by_agents), ("realizations", by_realizations))
    }
    rows = [
        [str(n), str(r), "complete" if graph is None else f"random, degree {degree}", f"{value:.1f}"]
        for (n, r, graph), value in cost.items()
    ]
    return wide_table([["agents", "realizations", "graph", "ms per coupling"], *rows]), exponents


def wide_table(rows: list[list[str]]) -> str:
    """Any number of columns, in Markdown; the first row is the header."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["| " + " | ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def section_on_methods(size: Size) -> str:
    """Table and notes."""
    cells, errors = compare_methods(size)
    missing = "" if importlib.util.find_spec("diffrax") else " diffrax is not installed here; `make bench` installs it."
    notes = [
        "Milliseconds (median) and steps (tried) from the quench's initial conditions to t = 10, with the same "
        "tolerances and output times. In brackets: realizations side by side. integrate is `landau.integrate`, checks "
        "included; rodas4 and dormand_prince are the methods of its `solvers.py`, implicit and explicit, here for all "
        "realizations at once.",
        "Steps are common to all realizations, and the error is the worst one's root mean square over agents. The "
        "Kvaerno methods of diffrax solve dense linear systems, N × N for each realization and infeasible for all at "
        f"once: they have few realizations, and steps of their own for each, of which the mean is shown.{missing}",
        "Largest median error over the table, against rtol = 1e-10: "
        + ", ".join(f"{title} {value:.1e}" for title, value in errors.items())
        + ".",
    ]
    return section("Methods", cells, notes)


def section_on_scaling(size: Size) -> str:
    """Table and notes."""
    cells, exponents = scaling(size)
    growth = ", ".join(f"{value:.2f} in the number of {name}" for name, value in exponents.items())
    notes = [
        "A quench at D = 1 and σ̂ = 0.1, 1, 10, 100; median. The sparse graph is integrated explicitly.",
        f"Fitted exponents of the growth on the complete graph: {growth} (1: linear).",
    ]
    return section("Scaling", cells, notes)


def section(title: str, cells: str, notes: list[str]) -> str:
    """Heading, table and notes, in Markdown."""
    listed = "\n".join(f"- {note}" for note in notes)
    return f"## {title}\n\n{cells}\n\n{listed}"
