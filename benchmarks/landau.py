"""Seconds that Figure 2 of paper 001 takes, next to SciPy's RK45 realization by realization; and why it is so.

    python benchmarks/landau.py

The workload is the paper's: 200 agents, 200 realizations, 60 couplings, D = 0, 1, 2, quench and adiabatic sweep
upward. RK45, the paper's solver, integrates a slice of it (some couplings, some realizations), which is extrapolated.
The two alternate in one run, so that the machine's noise meets both, and are compared only if both have solved the same
equation: on the whole slice, against a solution with tight tolerances. Then methods are compared at single couplings,
and the cost of a coupling is measured against the numbers of agents and realizations.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from landau_methods import section_on_methods, section_on_scaling
from landau_protocol import ATOL, PARTS, QUICK, RTOL, SPAN, TIMES, WEIGHT_DECAY, Size
from throughput import limit_threads, processor, spread, table

HERE = Path(__file__).resolve().parent
# One step may be wrong by rtol |m| with |m| up to 2; the flow contracts such errors before they add up.
TOLERANCE = 2 * RTOL
# Of two ways to sum terms of size σ̂ m, up to some 10³; without the weight decay, the smallest, it would be 10⁻³.
ROUNDING = 1e-10
# Where a trajectory passes an unstable state, either solver may send it to the other side: D = 2, a few in a hundred.
MOST_STRAYED = 0.1
MOST_GIGABYTES = 2.0


def figure_worker(size: Size, directory: Path, threads: int) -> None:
    """Answers each line with what the curves of one figure cost; the first figure leaves the slice in `slice.npz`."""
    import consilience as cs

    recipe = cs.recipes.get("figure-2").module
    config = recipe.Figure2(
        depths=(0, 1, 2), adiabatic=(0, 1, 2), couplings=tuple(size.couplings), num_agents=size.num_agents,
        num_realizations=size.num_realizations, weight_decay=WEIGHT_DECAY, span=SPAN, rtol=RTOL, atol=ATOL,
    )  # fmt: skip
    whole = recipe.computation(config)
    # The paper's panels: the others wait longer, and start elsewhere.
    paper = {name: cell for name, cell in whole.cells.items() if name.partition(",")[0] in ("quench", "adiabatic_up")}
    computation = dataclasses.replace(whole, cells=paper)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        curves = cs.experiments.compute(computation, num_threads=threads)
        spent = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if not (directory / "slice.npz").exists():
            np.savez(directory / "slice.npz", allow_pickle=False, **slice_of(size, curves))
        print(json.dumps({**spent, "gigabytes": peak / 1e9}), flush=True)


def slice_of(size: Size, curves: dict[str, Any]) -> dict[str, np.ndarray]:
    """What `rk45_loop.py` needs, and what came out here; shapes (parts, couplings, realizations, ...)."""
    from consilience.theory import landau

    delta, start = size.ensemble()
    names = ("delta", "initial", "final", "magnetization")
    found: dict[str, list[Any]] = {name: [] for name in names}
    for depth, protocol in PARTS:
        # The same once more: figures keep no states.
        final = landau.sweep(
            delta, start, depth=depth, couplings=size.couplings, protocol=protocol, weight_decay=WEIGHT_DECAY,
            rtol=RTOL, atol=ATOL,
        ).final.values  # fmt: skip
        magnetization = curves[f"{protocol},D={depth}"].magnetization.values
        for place, k in enumerate(size.sliced):
            rows = size.members(place)
            initial = start if protocol == "quench" or k == 0 else final[k - 1]
            for name, value in zip(names, (delta, initial, final[k], magnetization[k]), strict=True):
                found[name].append(value[rows])
    shape = len(PARTS), size.num_sliced
    arrays = {name: np.reshape(value, (*shape, *np.shape(value[0]))) for name, value in found.items()}
    arrays["depths"] = np.array([depth for depth, _ in PARTS])
    arrays["couplings"] = size.couplings[size.sliced]
    return arrays | {"times": TIMES, "weight_decay": np.array(WEIGHT_DECAY), "tolerances": np.array([RTOL, ATOL])}


def extrapolated(size: Size, seconds: np.ndarray) -> float:
    """What the whole figure would take, from seconds of shape (parts, sliced couplings, realizations).

    Between the couplings of the slice the logarithm of the mean is interpolated: at strong coupling steps shrink as
    1/σ̂, and a straight line between two couplings would overestimate what lies between.
    """
    means = np.log(seconds.mean(-1))
    everywhere = [np.interp(np.arange(size.num_couplings), size.sliced, of_part) for of_part in means]
    return size.num_realizations * float(np.exp(everywhere).sum())


class Worker:
    """A process of its own, which answers each line of JSON with another."""

    def __init__(self, script: str, *arguments: str) -> None:
        # Compiling is measured, and matrices of 200 × 200 gain nothing from threads of the linear algebra.
        kept = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR" and "OPENBLAS" not in k}
        command, environment = [sys.executable, str(HERE / script), *arguments], {**kept, "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **command: Any) -> dict[str, Any]:
        """The answer to one command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("A process of the benchmark ended before it answered; its own message is above.")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@dataclass(frozen=True)
class Comparison:
    """What each figure, and each repeat of the slice, cost.

    Attributes:
        first: of the first figure, which compiles.
        ours: of the later ones.
        theirs: of SciPy's slice, by form of the right-hand side, by the clock and of the processor.
        errors: side → medians and worst of its errors, and what share of the realizations strayed.
    """

    first: dict[str, float]
    ours: list[dict[str, float]]
    theirs: list[dict[str, Any]]
    errors: dict[str, str]

    def of_scipy(self, size: Size, form: str, key: str) -> list[float]:
        """What the whole figure would cost SciPy, by repeat."""
        index = ("seconds", "cpu").index(key)
        return [extrapolated(size, np.array(one[form][index])) for one in self.theirs]

    def ratios(self, size: Size, form: str, key: str) -> list[float]:
        """SciPy's cost in units of ours, by repeat."""
        return [b / a[key] for a, b in zip(self.ours, self.of_scipy(size, form, key), strict=True)]


def compare(size: Size, directory: Path, threads: int) -> Comparison:
    """Both sides in turn, if they solve the same equation."""
    protocol = json.dumps(dataclasses.asdict(size))
    with Worker("landau.py", "--threads", str(threads), "--figure", str(directory), protocol) as figure:
        first = figure.ask()
        with Worker("rk45_loop.py", str(directory)) as rk45:
            difference = rk45.ask(do="check")["difference"]
            if not difference <= ROUNDING:
                raise SystemExit(f"The two forms of RK45's right-hand side differ by {difference:.1e}: one is wrong.")
            errors = check(directory)
            ours, theirs = [], []
            for repeat in range(size.repeats):
                ours.append(figure.ask())
                theirs.append(rk45.ask(do="time", first=repeat * size.per_repeat, count=size.per_repeat))
    return Comparison(first, ours, theirs, errors)


def check(directory: Path) -> dict[str, str]:
    """The errors of both sides on the slice; ends the benchmark if either does not solve the equation."""
    with np.load(directory / "slice.npz") as ours, np.load(directory / "solutions.npz") as scipy:
        final, magnetization = scipy["tight_final"], scipy["tight_magnetization"]
        sides = {
            "consilience": (ours["final"], ours["magnetization"]),
            "RK45": (scipy["rk45_final"], scipy["rk45_magnetization"]),
        }
    report = {}
    for name, (states, means) in sides.items():
        errors = np.array([np.sqrt(((states - final) ** 2).mean(-1)), abs(means - magnetization)])
        strayed = float((errors[0] > 10 * TOLERANCE).mean())
        at_worst = np.median(errors, axis=(1, 3)).max()
        middle, most = np.median(errors, axis=(1, 2, 3)), errors.max((1, 2, 3))
        report[name] = (
            f"{middle[0]:.1e} and {middle[1]:.1e} (worst {most[0]:.1e} and {most[1]:.1e}; {strayed:.1%} strayed)"
        )
        if not (at_worst <= TOLERANCE and strayed <= MOST_STRAYED):
            raise SystemExit(
                f"{name} is wrong in m and its mean by {report[name]}, and in the median by {at_worst:.1e} at one of "
                f"the couplings: {TOLERANCE:g} and {MOST_STRAYED:.0%} strayed are allowed. Speeds are not compared."
            )
    return report


def rows_of(c: Comparison, size: Size, threads: int) -> list[tuple[str, str]]:
    """The first table: the figure."""
    return [
        ("measured", "median (range)"),
        (f"consilience, seconds for the figure, {threads} threads", spread([one["seconds"] for one in c.ours], ".1f")),
        ("consilience, the same in a fresh process, compiling", f"{c.first['seconds']:.1f}"),
        ("consilience, processor seconds", spread([one["cpu"] for one in c.ours], ".1f")),
        ("consilience, most memory", f"{c.ours[-1]['gigabytes']:.2f} GB"),
        ("RK45, seconds for the figure (extrapolated), 1 thread", spread(c.of_scipy(size, "fast", "seconds"), ".0f")),
        ("**RK45 / consilience**", f"**{spread(c.ratios(size, 'fast', 'seconds'), '.1f')}**"),
        ("RK45 / consilience, processor seconds (per core)", spread(c.ratios(size, "fast", "cpu"), ".1f")),
        ("RK45, Eq. (4) as written, seconds (extrapolated)", spread(c.of_scipy(size, "plain", "seconds"), ".0f")),
        ("RK45, Eq. (4) as written / consilience", spread(c.ratios(size, "plain", "seconds"), ".1f")),
    ]


def notes_on(c: Comparison, size: Size, threads: int, load: float) -> list[str]:
    """What was measured, and how."""
    import jax
    import scipy

    import consilience as cs

    integrations = len(PARTS) * size.num_sliced * size.per_repeat
    seconds = np.sum(c.theirs[0]["fast"][0])
    errors = "; ".join(f"{side} {text}" for side, text in c.errors.items())
    return [
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {processor()}; {threads} processors; load average before the "
        f"run {load:.1f}. consilience {cs.__version__}, JAX {jax.__version__}, SciPy {scipy.__version__}, NumPy "
        f"{np.__version__}, Python {platform.python_version()}.",
        f"N = {size.num_agents}, {size.num_realizations} realizations, {size.num_couplings} couplings from 0 to "
        f"{size.couplings[-1]:.0f}, D = 0, 1, 2, quench and adiabatic sweep upward; γ̂ = {WEIGHT_DECAY:g}, "
        f"rtol = {RTOL:g}, atol = {ATOL:g}, {len(TIMES) - 1} output times; double precision on both sides.",
        f"consilience: the six curves of the recipe figure-2, {threads} at a time, averages and losses included, in a "
        f"process of its own. {len(c.ours)} measurements after the first, which compiles; imports are not counted.",
        "RK45: `scipy.integrate.solve_ivp`, realization by realization, in one process on one processor; only "
        f"integrating is counted. It has a slice: {size.num_sliced} of the couplings, evenly spread from the first to "
        f"the last, at each of them {size.per_repeat} realizations, others in every repeat; all depths, both protocols "
        f"({integrations} integrations, {seconds:.1f} s in the first repeat). Adiabatic ones start from consilience's "
        "final state at the coupling before. The figure costs the sum over couplings, depths and protocols of the mean "
        f"over realizations, times {size.num_realizations}; between couplings the logarithm is interpolated.",
        "The two sides alternate. Ratios are taken repeat by repeat: their range holds the noise of the machine and "
        "that of the slice.",
        "RK45's right-hand side takes O(N): ⟨m⟩ is a dot product, and the polynomial is evaluated by Horner's rule. "
        "As written, it uses `m**D` and `m.mean()`.",
        "Both sides against DOP853 with rtol = 1e-9 on the slice, median over the integrations of the error in m (root "
        f"mean square over agents) at the end and in ⟨m⟩ (averaged over the second half): {errors}. Strayed is what is "
        f"off by more than {10 * TOLERANCE:g}: it passed near an unstable state.",
    ]


def run(size: Size, threads: int) -> str:
    """Measure everything; the report."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        comparison = compare(size, Path(name), threads)
    peak = comparison.ours[-1]["gigabytes"]
    if peak > MOST_GIGABYTES:
        raise SystemExit(f"The figure took {peak:.2f} GB of memory; {MOST_GIGABYTES:g} GB are allowed.")
    parts = [
        "# Figure 2 of paper 001 against RK45\n\nMade by `make bench` (`benchmarks/landau.py`).",
        table(rows_of(comparison, size, threads)),
        "\n".join(f"- {note}" for note in notes_on(comparison, size, threads, load)),
        section_on_methods(size),
        section_on_scaling(size),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, help="measurements of each side, alternating")
    parser.add_argument("--threads", type=int, default=2, help="processors that consilience may use")
    parser.add_argument("--quick", action="store_true", help="a smoke test of less than a minute; no numbers to quote")
    parser.add_argument("--report", type=Path, default=HERE / "reports" / "landau.md")
    parser.add_argument("--figure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    if arguments.figure:
        directory, protocol = arguments.figure
        figure_worker(Size(**json.loads(protocol)), Path(directory), arguments.threads)
        return
    # Before SciPy's linear algebra, which diffrax's implicit methods use, is loaded.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    size = QUICK if arguments.quick else Size()
    report = run(dataclasses.replace(size, repeats=arguments.repeats or size.repeats), arguments.threads)
    print(report)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(report, encoding="utf-8")
    print(f"written: {arguments.report}")


if __name__ == "__main__":
    main()
