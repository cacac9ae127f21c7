"""What a round of every method of the catalog costs, next to diffusive coupling in the same run.

    python benchmarks/methods.py

Ten agents on MNIST, D = 1, on the complete graph (or, for methods that refuse it, on a path), and a hundred on a random
regular graph of degree 4, eight replicas side by side. Rounds of the method and of diffusive coupling on the same graph
alternate, and their ratio is reported: its median and range over repeats.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from throughput import processor
from workloads import BlockUnderWay, make_task

HERE = Path(__file__).resolve().parent
ROUNDS, REPLICAS = 60, 8


def block(algorithm: Any, graph: Any, task: Any, rounds: int) -> BlockUnderWay:
    import consilience as cs
    from consilience.simulation import resolve_experiment

    experiment = resolve_experiment(
        algorithm,
        model=cs.models.mlp(depth=1, width=20),
        task=task,
        shards=cs.tasks.iid(task, num_agents=graph.num_agents),
        graph=graph,
        num_rounds=10 * rounds,
        batch_size=32,
        observe=(),
        common_init=True,
    )
    return BlockUnderWay(experiment, REPLICAS * [algorithm], rounds)


def ratios(algorithm: Any, graph: Any, task: Any, rounds: int, repeats: int) -> tuple[list[float], float]:
    """Time of a round over that of diffusive coupling, and its milliseconds per replica."""
    import consilience as cs

    reference = block(cs.algorithms.DiffusiveCoupling(learning_rate=0.01, coupling=1.0), graph, task, rounds)
    method = block(algorithm, graph, task, rounds)
    found, times = [], []
    for side in (method, reference):
        side.advance(rounds)  # compiles
    for _ in range(repeats):
        taken = method.advance(rounds)
        found.append(taken / reference.advance(rounds))
        times.append(1e3 * taken / rounds / REPLICAS)
    return found, float(np.median(times))


def accepted(algorithm: Any, graph: Any) -> bool:
    import consilience as cs

    try:
        cs.algorithms.check_pair(algorithm, graph, algorithm.default_mixing(graph))
    except cs.errors.IncompatiblePair:
        return False
    return True


def main() -> None:
    import consilience as cs

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--methods", nargs="*", default=None, help="names of the catalog; all by default")
    arguments = parser.parse_args()
    task, which = make_task("mnist", arguments.data_dir)
    graphs = {
        "N = 10": (cs.graphs.complete(10), cs.graphs.path(10)),
        "N = 100, degree 4": (cs.graphs.random_regular(100, 4, seed=0),),
    }
    lines = [f"| method | {' | '.join(f'{name}: ratio | ms per round and replica' for name in graphs)} |"]
    lines.append("|---" * (1 + 2 * len(graphs)) + "|")
    for name, entry in cs.algorithms.catalog().items():
        if arguments.methods is not None and name not in arguments.methods:
            continue
        cells = []
        for candidates in graphs.values():
            algorithm = entry.example()
            graph = next((graph for graph in candidates if accepted(algorithm, graph)), None)
            if graph is None:
                cells += ["–", ""]
                continue
            rounds = ROUNDS * 10 // graph.num_agents
            found, milliseconds = ratios(algorithm, graph, task, rounds, arguments.repeats)
            cells += [f"{np.median(found):.2f} ({min(found):.2f} – {max(found):.2f})", f"{milliseconds:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    report = [
        "# Rounds of the catalog next to diffusive coupling",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; {which}; "
        f"{REPLICAS} replicas side by side, {arguments.repeats} alternating repeats: median and range of the ratio. "
        "Each method has the hyper-parameters of its entry's example; those with two local steps need two gradients a "
        "round.",
        "",
        *lines,
        "",
        "Made by `python benchmarks/methods.py`.",
    ]
    if arguments.methods is None:
        (HERE / "reports" / "methods.md").write_text("\n".join(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
