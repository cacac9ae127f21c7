"""Agent-steps per second of the MNIST sweep at D = 1, next to a plain PyTorch loop.

    python benchmarks/throughput.py --torch-python .venv-torch/bin/python

The workload is the quench of `consilience reproduce figure-3` at D = 1: ten agents with one class each, 784-20-10
networks, the complete graph, Eq. (2), mini-batches of 32, and 16 couplings in two blocks, which run side by side on two
threads as those of any sweep do. The loop (`torch_loop.py`)
trains ten modules at one coupling, with as many threads as suit it best; a sweep costs it sixteen times that. Neither
side evaluates anything. The two alternate in one run, so that the machine's noise meets both, and are compared only if
they compute the same: from the same parameters and mini-batches, after 20 rounds, for all couplings.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from block_process import Crew
from workloads import BlockUnderWay, Workload, make_task, operations

HERE = Path(__file__).resolve().parent
CHECKED_ROUNDS = 20
# Single precision with sums in another order leaves about 1e-6. The smallest term is the weight decay, 2ηγ = 1e-5 per
# round, or 2e-4 in all: half of it missing still shows.
TOLERANCE = 2e-5


def limit_threads(count: int) -> None:
    """Keep this process, and those that it starts, on `count` processors. XLA looks at them when it is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def make_sweep(task: Any, *, num_rounds: int, observe: tuple[str, ...] = ()) -> Any:
    """The quench of figure 3 at D = 1, with its default protocol."""
    import consilience as cs

    config = cs.recipes.figure_3.Figure3()
    return cs.experiments.resolve_sweep(
        cs.algorithms.DiffusiveCoupling(learning_rate=config.learning_rate, weight_decay=config.weight_decay),
        over={"coupling": config.couplings},
        model=config.model("D = 1"),
        task=task,
        shards=cs.tasks.by_class(task, num_agents=config.num_agents),
        graph=cs.graphs.complete(config.num_agents),
        num_rounds=num_rounds,
        batch_size=config.batch_size,
        observe=observe,
        observe_every=num_rounds,
    )


class Threads:
    """The sweep's blocks, side by side on threads as the executor `local` runs them."""

    def __init__(self, sweep: Any, *, capacity: int, threads: int) -> None:
        self.experiment = sweep.experiment
        self.couplings = [[sweep.cells[cell]["coupling"] for cell in block.cells] for block in sweep.blocks]
        self.seeds = [sweep.seed_of(cell) for cell in sweep.blocks[0].cells]
        self.blocks = [
            BlockUnderWay(sweep.experiment, [sweep.algorithm(cell) for cell in block.cells], capacity)
            for block in sweep.blocks
        ]
        self.initial_params = self.blocks[0].initial_params
        self.threads = ThreadPoolExecutor(threads)

    def advance(self, rounds: int) -> float:
        """Run some rounds; the seconds that they took, drawing mini-batches included."""
        start = time.perf_counter()
        list(self.threads.map(lambda block: block.advance(rounds), self.blocks))
        return time.perf_counter() - start

    def params(self) -> dict[str, np.ndarray]:
        """Name → parameters of all couplings and agents."""
        blocks = [block.params() for block in self.blocks]
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def matrix_peak() -> float:
    """Single-precision operations per second of products of large matrices: the better of XLA and NumPy's BLAS."""
    import jax
    import jax.numpy as jnp

    size = 2048
    left = np.random.default_rng(0).random((size, size), np.float32)
    device, product = jnp.asarray(left), jax.jit(lambda a: a @ a)

    def seconds(multiply: Any) -> float:
        multiply()
        trials = []
        for _ in range(7):
            start = time.perf_counter()
            multiply()
            trials.append(time.perf_counter() - start)
        return min(trials)

    fastest = min(seconds(lambda: product(device).block_until_ready()), seconds(lambda: left @ left))
    return 2 * size**3 / fastest


class Loop:
    """The PyTorch loop, in a process of its own."""

    def __init__(self, python: str, directory: Path) -> None:
        command = [python, str(HERE / "torch_loop.py"), str(directory)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = self._answer()["torch"]

    def ask(self, **command: Any) -> dict[str, Any]:
        """The loop's answer to one command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def advance(self, rounds: int, coupling: float) -> float:
        """Run some rounds; the seconds that they took."""
        return self.ask(do="time", rounds=rounds, coupling=coupling)["seconds"]

    def set_threads(self, wanted: int | None, most: int, rounds: int, coupling: float) -> dict[int, float]:
        """Set the number of threads: the wanted one, or the fastest in a trial. Milliseconds per round of each tried.

        Several threads can be slower than one: the matrices are small, and a waiting thread takes time from others.
        """
        trials = {}
        for threads in [wanted] if wanted else range(1, most + 1):
            self.ask(do="threads", threads=threads)
            self.advance(1, coupling)
            trials[threads] = 1e3 * self.advance(rounds, coupling) / rounds
        self.ask(do="threads", threads=min(trials, key=trials.__getitem__))
        return trials

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("The PyTorch loop ended before it answered; its own message is above.")
        return json.loads(line)


@contextmanager
def loop_beside(ours: Threads, python: str, directory: Path, num_batches: int) -> Iterator[Loop]:
    """The loop, started from the parameters of `ours` and on the same mini-batches."""
    from consilience.simulation import flatten_params
    from consilience.simulation.batching import batch_indices

    e = ours.experiment
    batches = batch_indices(
        e.shards, seeds=ours.seeds, first_round=0, num_rounds=num_batches, num_local_steps=1, batch_size=e.batch_size
    )
    of_one_replica = {name: leaf[0] for name, leaf in flatten_params(ours.initial_params).items()}
    np.savez(
        directory / "inputs.npz",
        images=e.task.train_inputs,
        labels=e.task.train_labels,
        batches=batches[:, :, 0],
        learning_rate=e.algorithm.learning_rate,
        weight_decay=e.algorithm.weight_decay,
        **of_one_replica,
    )
    loop = Loop(python, directory)
    try:
        yield loop
    finally:
        loop.close()


def largest_difference(params: dict[str, np.ndarray], directory: Path) -> float:
    """The largest ‖difference‖/‖parameters‖ over couplings, agents and layers, from what the loop wrote."""
    worst = 0.0
    with np.load(directory / "outputs.npz", allow_pickle=False) as theirs:
        for name, leaves in params.items():
            for index, leaf in enumerate(leaves):
                other = theirs[f"{index}/{name.removeprefix('params/')}"]
                axes = tuple(range(1, leaf.ndim))
                norms = np.sqrt(((leaf - other) ** 2).sum(axes)), np.sqrt((leaf**2).sum(axes))
                worst = max(worst, float((norms[0] / norms[1]).max()))
    return worst


@dataclass(frozen=True)
class Start:
    """What a fresh process spends before its first round is done."""

    seconds: float
    compiling: float


def start_once(data_dir: str | None) -> None:
    """In a process of its own: a very short sweep with the figure's observables, and what of it was compiling."""
    start = time.perf_counter()
    import consilience as cs

    cs.simulation.use_compilation_cache()  # where JAX_COMPILATION_CACHE_DIR says
    task, _ = make_task("mnist", data_dir)
    loaded = time.perf_counter()
    sweep = make_sweep(task, num_rounds=1, observe=cs.recipes.figure_3.OBSERVE)
    # Blocks wait side by side while one of them compiles for all, and each counts that time.
    compiling = cs.experiments.run_sweep(sweep).attrs["wall_seconds"]["compile"] / len(sweep.blocks)
    print(json.dumps({"seconds": time.perf_counter() - start, "compiling": compiling, "loading": loaded - start}))


def measure_start(cache: Path, data_dir: str | None) -> Start:
    """`start_once`, without the time for imports and data."""
    command = [sys.executable, str(Path(__file__).resolve()), "--start-once"]
    command += ["--data-dir", data_dir] if data_dir else []
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    result = json.loads(output.splitlines()[-1])
    return Start(seconds=result["seconds"] - result["loading"], compiling=result["compiling"])


def processor() -> str:
    """The processor's model, as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def table(rows: list[tuple[str, str]]) -> str:
    """Two columns, in Markdown."""
    wide = max(len(left) for left, _ in rows)
    lines = [f"| {left:{wide}} | {right} |" for left, right in rows]
    return "\n".join([lines[0], f"|{'-' * (wide + 2)}|---|", *lines[1:]])


def spread(values: list[float], form: str) -> str:
    """Median and range."""
    return f"{np.median(values):{form}} ({min(values):{form}} – {max(values):{form}})"


@dataclass(frozen=True)
class Comparison:
    """Seconds of each measurement, and what else is to be said of them."""

    threads: list[float] = field(default_factory=list)
    processes: list[float] = field(default_factory=list)
    loop: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    difference: float | None = None
    loop_threads: dict[int, float] = field(default_factory=dict)
    loop_version: str = ""


def measure(ours: Threads, crew: Crew, directory: Path, arguments: argparse.Namespace) -> Comparison:
    """All sides in turn, if they compute the same; ours alone without an interpreter for the loop."""
    rounds = arguments.rounds
    ours.advance(CHECKED_ROUNDS)
    crew.advance(CHECKED_ROUNDS)
    if arguments.torch_python is None:
        result = Comparison()
        for _ in range(arguments.pairs):
            _measure_ours(result, ours, crew, rounds)
        return result
    couplings = [coupling for block in ours.couplings for coupling in block]
    coupling = couplings[len(couplings) // 2]
    with loop_beside(ours, arguments.torch_python, directory, max(rounds, CHECKED_ROUNDS)) as loop:
        threads = loop.set_threads(arguments.torch_threads, arguments.threads, max(1, rounds // 5), coupling)
        loop.ask(do="check", couplings=couplings, rounds=CHECKED_ROUNDS)
        difference = max(largest_difference(side, directory) for side in (ours.params(), crew.params(directory)))
        if not difference <= TOLERANCE:
            raise SystemExit(
                f"After {CHECKED_ROUNDS} rounds the two codes differ by {difference:.1e} > {TOLERANCE:g}: they do not "
                "compute the same, and their speeds are not compared."
            )
        result = Comparison(difference=difference, loop_threads=threads, loop_version=loop.version)
        ours.advance(rounds)
        crew.advance(rounds)
        for _ in range(arguments.pairs):
            _measure_ours(result, ours, crew, rounds)
            result.loop.append(loop.advance(rounds, coupling))
    return result


def _measure_ours(result: Comparison, ours: Threads, crew: Crew, rounds: int) -> None:
    result.threads.append(ours.advance(rounds))
    result.processes.append(crew.advance(rounds))
    result.peaks.append(matrix_peak())


def rows_of(comparison: Comparison, ours: Threads, rounds: int, starts: tuple[Start, Start]) -> list[tuple[str, str]]:
    """The table: what was measured, and the numbers."""
    num_agents, num_couplings = ours.experiment.num_agents, sum(map(len, ours.couplings))
    steps, flops = rounds * num_agents * num_couplings, operations(Workload("D = 1"))
    rows = [("measured", "median (range)")]
    loop_rates = [rounds * num_agents / value for value in comparison.loop]
    for name, seconds in (("processes", comparison.processes), ("threads", comparison.threads)):
        rates = [steps / value for value in seconds]
        rows += [
            (f"blocks on {name}: agent-steps per second", spread(rates, ",.0f")),
            (
                f"blocks on {name}: ms per round and coupling",
                spread([1e3 * value / rounds / num_couplings for value in seconds], ".3f"),
            ),
        ]
        if loop_rates:
            ratios = [a / b for a, b in zip(rates, loop_rates, strict=True)]
            rows.append((f"**blocks on {name} / PyTorch loop**", f"**{spread(ratios, '.1f')}**"))
        reached = [100 * flops * rate / peak for rate, peak in zip(rates, comparison.peaks, strict=True)]
        rows.append((f"**blocks on {name}: share of the matrix peak**", f"**{spread(reached, '.0f')} %**"))
    if loop_rates:
        rows += [
            ("PyTorch loop, agent-steps per second", spread(loop_rates, ",.0f")),
            (
                "PyTorch loop, ms per round and coupling",
                spread([1e3 * value / rounds for value in comparison.loop], ".3f"),
            ),
            (f"largest relative difference after {CHECKED_ROUNDS} rounds", f"{comparison.difference:.1e}"),
        ]
    rows.append(("matrix peak, single precision, GFLOP/s", spread([peak / 1e9 for peak in comparison.peaks], ".0f")))
    names = ("first start, compiling", "second start, compiling")
    rows += [
        (name, f"{start.compiling:.1f} s (of {start.seconds:.1f} s until the first round is done)")
        for name, start in zip(names, starts, strict=True)
    ]
    return rows + shares_of_a_default_run(ours, np.median(comparison.threads) / rounds, starts)


def shares_of_a_default_run(
    ours: Threads, seconds_per_round: float, starts: tuple[Start, Start]
) -> list[tuple[str, str]]:
    """What of figure 3's default run at D = 1 is spent on evaluating, and on compiling."""
    import consilience as cs
    from consilience.simulation import make_ensemble, resolve_experiment

    config, e, seeds = cs.recipes.figure_3.Figure3(), ours.experiment, ours.seeds
    observed = resolve_experiment(
        e.algorithm, model=e.model, task=e.task, shards=e.shards, graph=e.graph, num_rounds=config.num_rounds,
        observe=cs.recipes.figure_3.OBSERVE, observe_every=config.observe_every, average_after=config.average_after,
    )  # fmt: skip
    block, ensemble = ours.blocks[0], make_ensemble(observed, seeds)
    ensemble.measure(block.state, block.replicas)
    trials = []
    for _ in range(3):
        start = time.perf_counter()
        ensemble.measure(block.state, block.replicas)
        trials.append(time.perf_counter() - start)
    records = int((observed.observed_rounds() > config.average_after).sum())
    evaluating = len(ours.blocks) * records * float(np.median(trials))
    running = config.num_rounds * seconds_per_round
    total = evaluating + running
    return [
        ("evaluation, share of a default run", f"{100 * evaluating / total:.1f} % ({records} records)"),
        *(
            (f"compiling, share of a default run, {name} start", f"{100 * start.compiling / total:.1f} %")
            for name, start in zip(("first", "second"), starts, strict=True)
        ),
    ]


def run(arguments: argparse.Namespace) -> str:
    """Measure everything; the report."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        starts = (
            measure_start(directory / "xla", arguments.data_dir),
            measure_start(directory / "xla", arguments.data_dir),
        )
        import jax

        import consilience as cs

        cs.simulation.use_compilation_cache(directory / "xla")
        task, data = make_task("mnist", arguments.data_dir)
        capacity = max(arguments.rounds, CHECKED_ROUNDS)
        ours = Threads(make_sweep(task, num_rounds=capacity), capacity=capacity, threads=arguments.threads)
        crew = Crew(Workload("D = 1"), ours.couplings, capacity, arguments.data_dir)
        comparison = measure(ours, crew, directory, arguments)
        crew.close()
        rows = rows_of(comparison, ours, arguments.rounds, starts)
    e, num_couplings = ours.experiment, sum(map(len, ours.couplings))
    versions = f"consilience {cs.__version__}, JAX {jax.__version__}, Python {platform.python_version()}"
    notes = [
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {processor()}; {arguments.threads} processors; load average "
        f"before the run {load:.1f}. {versions}.",
        f"Data: {data}. {e.num_agents} agents, {e.num_parameters:,} parameters each, mini-batches of {e.batch_size}, "
        "complete graph, Eq. (2), float32. An agent-step is one mini-batch gradient and one coupled update of one "
        "agent at one coupling.",
        f"{len(comparison.peaks)} measurements of {arguments.rounds} rounds each. consilience runs {num_couplings} "
        f"couplings in {len(ours.blocks)} blocks: on {arguments.threads} threads of one process, as the executor "
        "`local` does, and in as many processes of one thread, as `processes` does. Mini-batches are drawn within the "
        "measured time. Nothing is evaluated.",
        "Share of the matrix peak: 4 · batch · 784 · width operations per agent-step, the first layer's products "
        "forwards and backwards, over all the time of a round; the peak is measured between the rounds, the better of "
        "XLA and NumPy's BLAS on matrices of 2,048.",
    ]
    if comparison.loop:
        trials = comparison.loop_threads
        shown = ", ".join(f"{value:.1f} ms per round with {threads}" for threads, value in trials.items())
        notes.append(
            f"The loop (PyTorch {comparison.loop_version}) runs one coupling, and a sweep costs it {num_couplings} "
            f"times as much; it is given its mini-batches. Threads: {min(trials, key=trials.__getitem__)} (a trial: "
            f"{shown}). The two sides alternate; the ratio is taken pair by pair."
        )
    notes.append(
        "The first start compiles everything; the second, in a new process, finds the programs in JAX's persistent "
        "cache, which the command line uses. Imports and reading the data are not counted."
    )
    title = "# Throughput of the MNIST sweep at D = 1\n\nMade by `make bench` (`benchmarks/throughput.py`)."
    listed = "\n".join(f"- {note}" for note in notes)
    return f"{title}\n\n{table(rows)}\n\n{listed}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", help="interpreter with PyTorch; without it the loop is not measured")
    parser.add_argument("--data-dir", help="where MNIST is looked for first")
    parser.add_argument("--rounds", type=int, default=400, help="rounds of each measurement")
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each side, alternating")
    parser.add_argument("--threads", type=int, default=2, help="processors that either side may use")
    parser.add_argument("--torch-threads", type=int, help="threads of the loop; by default the fastest number of them")
    parser.add_argument("--report", type=Path, default=HERE / "reports" / "throughput.md")
    parser.add_argument("--start-once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    if arguments.start_once:
        start_once(arguments.data_dir)
        return
    report = run(arguments)
    print(report)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(report, encoding="utf-8")
    print(f"written: {arguments.report}")


if __name__ == "__main__":
    main()
