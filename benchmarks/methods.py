"""What a round of every method of the catalog costs, next to diffusive coupling in the same run.

    python benchmarks/methods.py

Ten agents on MNIST, D = 1, on the complete graph (or, for methods that refuse it, on a path), and a hundred on a random
regular graph of degree 4 and on a Barabási–Albert graph, which has as many links and a hub with 21 neighbours; eight
replicas side by side. Rounds of the method and of diffusive coupling on the same graph alternate, and the ratio of
their processor times, which other programs disturb less than the clock's, is reported: its median and range over
repeats.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import time
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


def processor_time(side: BlockUnderWay) -> float:
    """Seconds per round and replica, of all threads together."""
    start = time.process_time()
    side.advance(side.capacity)
    return (time.process_time() - start) / side.capacity / REPLICAS


def ratios(method: BlockUnderWay, reference: BlockUnderWay, repeats: int) -> tuple[list[float], float]:
    """Processor time of a round over that of diffusive coupling, and its milliseconds per replica."""
    for side in (method, reference):
        side.restart()
        side.advance(side.capacity)  # compiles
    times = [(processor_time(method), processor_time(reference)) for _ in range(repeats)]
    return [own / other for own, other in times], 1e3 * float(np.median([own for own, _ in times]))


def methods() -> dict[str, Any]:
    """Every entry of the catalog with its example, and those that learn like diffusive coupling, one step a round."""
    import consilience as cs

    examples = {name: entry.example() for name, entry in cs.algorithms.catalog().items()}
    return examples | {
        "adapt then combine, one local step": cs.algorithms.AdaptThenCombine(learning_rate=0.01),
        "combine then adapt, one local step": cs.algorithms.CombineThenAdapt(learning_rate=0.01),
    }


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
        "N = 100, hubs": (cs.graphs.barabasi_albert(100, 2, seed=0),),
    }
    lines = [f"| method | {' | '.join(f'{name}: ratio | processor ms per round and replica' for name in graphs)} |"]
    lines.append("|---" * (1 + 2 * len(graphs)) + "|")
    references: dict[str, BlockUnderWay] = {}
    for name, algorithm in methods().items():
        if arguments.methods is not None and name not in arguments.methods:
            continue
        cells = []
        for candidates in graphs.values():
            graph = next((graph for graph in candidates if accepted(algorithm, graph)), None)
            if graph is None:
                cells += ["–", ""]
                continue
            rounds = ROUNDS * 10 // graph.num_agents
            if graph.name not in references:
                diffusive = cs.algorithms.DiffusiveCoupling(learning_rate=0.01, coupling=1.0)
                references[graph.name] = block(diffusive, graph, task, rounds)
            method = block(algorithm, graph, task, rounds)
            found, milliseconds = ratios(method, references[graph.name], arguments.repeats)
            cells += [f"{np.median(found):.2f} ({min(found):.2f} – {max(found):.2f})", f"{milliseconds:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    report = [
        "# Rounds of the catalog next to diffusive coupling",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; {which}; "
        f"{REPLICAS} replicas side by side, {arguments.repeats} alternating repeats: median and range of the ratio of "
        f"processor times. Programs that wanted a core meanwhile, this one among them: {os.getloadavg()[2]:.0f}. "
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
