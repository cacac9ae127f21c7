"""What a round costs as work grows: with agents, replicas, width and depth, in time and in memory.

    python benchmarks/scaling.py                                   every size, a table and a figure
    python benchmarks/scaling.py --one '{"agents": 1000}'          one size, as JSON

The workload is that of `throughput.py`: fully-connected networks on images of MNIST's shape, mini-batches of 32,
Eq. (2). Each size runs in a process of its own. Its memory is told in two ways: what the compiled rounds allocate (the
parameters before and after, and temporary arrays), by the compiler's own account, and the process's largest resident
memory, with Python, JAX, the compiler and the images.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from throughput import processor
from workloads import make_task

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Size:
    """One population.

    Attributes:
        agents: N.
        graph: "complete" or "regular" (random, of degree 4).
        replicas: side by side in one block.
        width: of the hidden layers.
        depth: hidden layers.
        seconds: of each measurement, about.
    """

    agents: int = 10
    graph: str = "complete"
    replicas: int = 8
    width: int = 20
    depth: int = 1
    seconds: float = 1.5


AGENTS = (10, 30, 100, 300, 1000, 3000)
FAMILIES: dict[str, list[Size]] = {
    "agents, complete graph": [Size(agents=n, replicas=1) for n in AGENTS],
    "agents, random regular graph of degree 4": [Size(agents=n, graph="regular", replicas=1) for n in AGENTS],
    "replicas": [Size(replicas=r) for r in (1, 2, 4, 8, 16, 32)],
    "width": [Size(width=w) for w in (10, 20, 50, 100, 200, 500)],
    "depth": [Size(depth=d, width=100) for d in (1, 2, 3, 4, 6)],
}


def measure(size: Size, data_dir: str | None) -> dict[str, Any]:
    """Seconds per agent-step, three times, and memory."""
    import consilience as cs
    from consilience.simulation import make_ensemble, resolve_experiment

    task, data = make_task("mnist", data_dir)
    graph = {"complete": lambda: cs.graphs.complete(size.agents),
             "regular": lambda: cs.graphs.random_regular(size.agents, degree=4, seed=0)}[size.graph]()  # fmt: skip
    method = cs.algorithms.DiffusiveCoupling(learning_rate=0.005, coupling=1.0, weight_decay=1e-3)
    experiment = resolve_experiment(
        method,
        model=cs.models.mlp(depth=size.depth, width=size.width),
        task=task,
        shards=cs.tasks.iid(task, num_agents=size.agents),
        graph=graph,
        num_rounds=1_000_000,
    )
    seeds = [0] * size.replicas
    ensemble = make_ensemble(experiment, seeds)
    replicas = ensemble.replicas([method] * size.replicas, seeds)
    state = ensemble.initial_state(replicas, ensemble.initial_params(seeds))
    steps = size.agents * size.replicas
    # A capacity for all numbers of rounds that may be needed, so that one program serves them.
    capacity = max(2, min(2000, int(60_000 * size.seconds / steps)))
    ensemble.advance(state, replicas, seeds, 0, 1, capacity)
    start = time.perf_counter()
    state, _ = ensemble.advance(state, replicas, seeds, 0, 2, capacity)
    rounds = int(np.clip(size.seconds / ((time.perf_counter() - start) / 2), 2, capacity))
    trials = []
    for _ in range(3):
        start = time.perf_counter()
        state, _ = ensemble.advance(state, replicas, seeds, 0, rounds, capacity)
        trials.append((time.perf_counter() - start) / rounds / steps)
    program = next(program for name, program in ensemble._programs.items() if name.startswith("advance"))
    sizes = program.memory_analysis()
    return {
        "seconds": trials,
        "memory": 2 * sizes.output_size_in_bytes + sizes.temp_size_in_bytes,
        "resident": resident(),
        "parameters": experiment.num_parameters,
        "data": data,
    }


def resident() -> int:
    """Largest resident memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def in_own_process(size: Size, data_dir: str | None) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "scaling.py"), "--one", json.dumps(asdict(size))]
    command += ["--data-dir", data_dir] if data_dir else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{size} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes: list[float], costs: list[float]) -> float:
    """Slope of the logarithm of the cost against that of the size, over the larger half of the sizes."""
    half = len(sizes) // 2 if len(sizes) > 3 else 0
    return float(np.polyfit(np.log(sizes[half:]), np.log(costs[half:]), 1)[0])


def varied(name: str) -> str:
    return name.split(",")[0]


def report(results: dict[str, list[tuple[Size, dict[str, Any]]]], load: float, figure: str) -> str:
    """The tables, and what they are about."""
    import jax

    import consilience as cs

    lines = [
        "# What a round costs as work grows",
        "",
        "Made by `make bench` (`benchmarks/scaling.py`).",
        "",
        f"![Time and memory per agent-step]({figure})",
        "",
    ]
    for name, cases in results.items():
        of = varied(name)
        sizes = [float(getattr(size, of)) for size, _ in cases]
        totals = [statistics.median(r["seconds"]) * s.agents * s.replicas for s, r in cases]
        lines += [
            f"## {name}",
            "",
            f"Time of a round grows as {of}^{exponent(sizes, totals):.2f}, its memory as "
            f"{of}^{exponent(sizes, [float(r['memory']) for _, r in cases]):.2f} (larger half of the sizes).",
            "",
            f"| {of} | µs per agent-step, median (range) | agent-steps per second | kB per agent and replica | "
            "× its parameters | process, MB |",
            "|---|---|---|---|---|---|",
        ]
        for size, result in cases:
            times = [1e6 * value for value in result["seconds"]]
            memory = result["memory"] / size.agents / size.replicas
            lines.append(
                f"| {getattr(size, of):,} | {statistics.median(times):.1f} ({min(times):.1f} – {max(times):.1f}) | "
                f"{1e6 / statistics.median(times):,.0f} | {memory / 1e3:,.0f} | "
                f"{memory / 4 / result['parameters']:.1f} | {result['resident'] / 1e6:,.0f} |"
            )
        lines.append("")
    first = next(iter(results.values()))[0][0]
    lines += [
        f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {processor()}; {os.cpu_count()} processors; load average "
        f"before the run {load:.1f}. consilience {cs.__version__}, JAX {jax.__version__}.",
        f"- Unless it is varied: {first.agents} agents on the complete graph, networks 784-{first.width}-10 (width 100 "
        "where the depth varies), 8 couplings side by side (1 where the number of agents varies), mini-batches of 32, "
        f"Eq. (2), single precision; {next(iter(results.values()))[0][1]['data']}.",
        "- Memory per agent and replica: parameters before and after a chunk of rounds and temporary arrays, as the "
        "compiler accounts for them. Process: largest resident memory, with Python, JAX, the compiler and the images.",
        "- Three measurements each, in one process.",
    ]
    return "\n".join(lines) + "\n"


def draw(results: dict[str, list[tuple[Size, dict[str, Any]]]], directory: Path) -> str:
    """The figure: time and memory per agent-step against everything that grows."""
    import matplotlib.pyplot as plt

    from consilience.plots import save, style

    with style():
        figure, axes = plt.subplots(2, 4, figsize=(11, 5), layout="constrained", sharey="row")
        columns: dict[str, int] = {"agents": 0, "replicas": 1, "width": 2, "depth": 3}
        labels = {"agents": "agents $N$", "replicas": "replicas side by side", "width": "width", "depth": "depth $D$"}
        shapes = iter("os^Dv")
        for name, cases in results.items():
            of, mark = varied(name), next(shapes)
            time_axes, memory_axes = axes[:, columns[of]]
            sizes = [getattr(size, of) for size, _ in cases]
            times = np.array([1e6 * np.array(result["seconds"]) for _, result in cases])
            middle = np.median(times, axis=1)
            spread = np.abs(np.stack([times.min(axis=1), times.max(axis=1)]) - middle)
            label = name.partition(", ")[2] or None
            time_axes.errorbar(sizes, middle, spread, marker=mark, capsize=2, label=label)
            memory = [r["memory"] / s.agents / s.replicas / 1e3 for s, r in cases]
            memory_axes.plot(sizes, memory, marker=mark, label=label)
            parameters = [4e-3 * result["parameters"] for _, result in cases]
            if of != "agents" or mark == "o":
                memory_axes.plot(sizes, parameters, "--", color="grey", label="its parameters")
            memory_axes.set_xlabel(labels[of])
            for panel in (time_axes, memory_axes):
                panel.set_yscale("log")
                if of != "depth":
                    panel.set_xscale("log")
                    panel.set_xlim(min(sizes) / 1.3, max(sizes) * 1.3)
                panel.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
                panel.minorticks_off()
        for row, ticks in ((0, (10, 20, 50, 100, 200, 500)), (1, (30, 100, 300, 1000, 3000))):
            axes[row, 0].set_yticks(ticks, [f"{tick:,}" for tick in ticks])
            axes[row, 0].minorticks_off()
        axes[0, 0].set_ylabel("time per agent-step / µs")
        axes[1, 0].set_ylabel("memory per agent and replica / kB")
        axes[0, 0].legend(fontsize="x-small")
        axes[1, 0].legend(fontsize="x-small")
        paths = save(figure, directory, "scaling")
        plt.close(figure)
    return next(path.name for path in paths if path.suffix == ".png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", help="measure one size, given as JSON, in this process")
    parser.add_argument("--data-dir", help="where MNIST is looked for first")
    parser.add_argument("--quick", action="store_true", help="the smallest two sizes of everything, and shortly")
    parser.add_argument("--report", type=Path, default=HERE / "reports" / "scaling.md")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(Size(**json.loads(arguments.one)), arguments.data_dir)))
        return
    load = os.getloadavg()[0]
    families = FAMILIES
    if arguments.quick:
        families = {name: [replace(size, seconds=0.1) for size in sizes[:2]] for name, sizes in FAMILIES.items()}
    results = {
        name: [(size, in_own_process(size, arguments.data_dir)) for size in sizes] for name, sizes in families.items()
    }
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    figure = draw(results, arguments.report.parent)
    text = report(results, load, figure)
    print(text)
    arguments.report.write_text(text, encoding="utf-8")
    print(f"written: {arguments.report}")


if __name__ == "__main__":
    main()
