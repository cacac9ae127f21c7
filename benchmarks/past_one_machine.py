"""One population over several processes, and what block sizes change.

    python benchmarks/past_one_machine.py

Strong scaling: populations of fixed size in 1, 2 and 4 processes of one thread (`consilience launch`), on the complete
graph, where one sum travels, and on a random regular graph, where neighbours' messages do. Blocks: the same sweep with
one replica and with four side by side; how long trajectories agree to rounding, and whether averages agree within their
spread.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from throughput import processor, spread
from workloads import make_task

HERE = Path(__file__).resolve().parent
AGENTS = 240
ROUNDS = {"complete": 60, "regular": 60}


def population(graph: str, data_dir: str | None) -> None:
    """In each of the processes: a population, and the seconds of its rounds, printed by the first."""
    import jax

    import consilience as cs
    from consilience.simulation import make_ensemble, resolve_experiment

    task, _ = make_task("mnist", data_dir)
    graphs = {"complete": cs.graphs.complete(AGENTS), "regular": cs.graphs.random_regular(AGENTS, degree=4, seed=0)}
    method = cs.algorithms.DiffusiveCoupling(learning_rate=0.005, coupling=1.0, weight_decay=1e-3)
    experiment = resolve_experiment(
        method, model=cs.models.mlp(depth=1), task=task, shards=cs.tasks.iid(task, num_agents=AGENTS),
        graph=graphs[graph], num_rounds=10_000, observe=(),
    )  # fmt: skip
    rounds = ROUNDS[graph]
    ensemble = make_ensemble(experiment, [0])
    replicas = ensemble.replicas([method], [0])
    state = ensemble.initial_state(replicas, ensemble.initial_params([0]))
    trials = []
    for trial in range(6):
        start = time.perf_counter()
        state, _ = ensemble.advance(state, replicas, [0], trial * rounds, rounds, rounds)
        trials.append((time.perf_counter() - start) / rounds)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(experiment.params_shapes) if hasattr(leaf, "nbytes"))
    if jax.process_index() == 0:
        heard = 0 if graph == "complete" else ensemble._reach.num_heard
        print(json.dumps({"seconds": trials[1:], "heard": heard, "bytes": size or 4 * experiment.num_parameters}))


def launch(graph: str, processes: int, data_dir: str | None) -> dict[str, Any]:
    script = [str(Path(__file__).resolve()), "--population", graph]
    script += ["--data-dir", data_dir] if data_dir else []
    if processes == 1:
        command, environment = [sys.executable, *script], {**os.environ, "NPROC": "1"}
    else:
        start = ["-m", "consilience.cli.main", "launch", "-n", str(processes), "--threads", "1"]
        command, environment = [sys.executable, *start, *script], dict(os.environ)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"{graph} in {processes} processes failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def strong_scaling(data_dir: str | None) -> list[str]:
    lines = [
        "| graph | processes | ms per round, median (range) | speed-up | messages in, per process and round | MB |",
        "|---|---|---|---|---|---|",
    ]
    for graph in ROUNDS:
        alone = None
        for processes in (1, 2, 4):
            result = launch(graph, processes, data_dir)
            times = [1e3 * value for value in result["seconds"]]
            alone = alone or float(np.median(times))
            heard = (1 if processes > 1 else 0) if graph == "complete" else result["heard"]
            lines.append(
                f"| {graph} | {processes} | {spread(times, '.1f')} | {alone / np.median(times):.2f} | "
                f"{heard}{' (a sum)' if graph == 'complete' and heard else ''} | {heard * result['bytes'] / 1e6:.1f} |"
            )
    return lines


def block_sizes(data_dir: str | None) -> list[str]:
    """The same sweep in blocks of four replicas and of one."""
    import consilience as cs

    task, data = make_task("mnist", data_dir)
    couplings, seeds, num_rounds, every = [1.0, 10.0, 30.0, 80.0], [0, 1, 2], 6000, 100
    shown = (100, 1000, 3000, 6000)

    def sweep(depth: int, size: int) -> Any:
        return cs.sweep(
            cs.algorithms.DiffusiveCoupling(learning_rate=0.005, weight_decay=1e-3),
            over={"coupling": couplings, "seed": seeds}, model=cs.models.mlp(depth=depth), task=task,
            shards=cs.tasks.by_class(task, num_agents=10), graph=cs.graphs.complete(10), num_rounds=num_rounds,
            observe=["accuracy", "loss"], observe_every=every, max_replicas=size,
        )  # fmt: skip

    lines = [
        f"| depth | {' | '.join(f'loss, round {round:,}' for round in shown)} | mean accuracy of the second half, in "
        "standard errors over seeds |",
        "|---" * (len(shown) + 2) + "|",
    ]
    for depth in (1, 2):
        one, four = (sweep(depth, size) for size in (1, 4))
        gap = abs(one.loss / four.loss - 1).max(("agent", "coupling", "seed"))
        late = [result.accuracy.sel(round=result["round"] > num_rounds // 2).mean(("agent", "round"))
                for result in (one, four)]  # fmt: skip
        error = late[1].std("seed", ddof=1) / np.sqrt(len(seeds))
        distance = abs(late[0].mean("seed") - late[1].mean("seed")) / error
        cells = [f"{float(gap.sel(round=round)):.1e}" for round in shown]
        lines.append(f"| {depth} | {' | '.join(cells)} | {float(distance.max()):.3f} |")
    lines += [
        "",
        f"Blocks of one replica next to blocks of four: {data}, one class per agent, {len(couplings)} couplings × "
        f"{len(seeds)} seeds. Shown is the largest difference over agents, couplings and seeds, relative for losses.",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--population", choices=ROUNDS, help=argparse.SUPPRESS)
    parser.add_argument("--data-dir", help="where MNIST is looked for first")
    parser.add_argument("--report", type=Path, default=HERE / "reports" / "past_one_machine.md")
    arguments = parser.parse_args()
    if arguments.population:
        population(arguments.population, arguments.data_dir)
        return
    load = os.getloadavg()[0]
    lines = [
        "# Past one machine",
        "",
        "Made by `make bench` (`benchmarks/past_one_machine.py`).",
        "",
        f"## One population of {AGENTS} agents in several processes",
        "",
        *strong_scaling(arguments.data_dir),
        "",
        "Processes of one thread each. With more processes than processors they wait for each other.",
        "",
        "## What block sizes change",
        "",
        *block_sizes(arguments.data_dir),
        "",
        f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {processor()}; {os.cpu_count()} processors; load average "
        f"before the run {load:.1f}.",
        "- Networks 784-20-10 on images of MNIST's shape, mini-batches of 32, Eq. (2), single precision. Five "
        "measurements each.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    arguments.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
