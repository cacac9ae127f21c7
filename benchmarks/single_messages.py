"""What a method that reads single messages costs where numbers of neighbours differ: agents in groups, or all padded.

    python benchmarks/single_messages.py

Triadic coupling, one replica of 100 agents with the MNIST network, on a regular graph, on one with hubs and as many
links, and on a star. Rounds with inboxes padded to the largest number of neighbours, and those of groups of agents with
about equally many, alternate in one run, in processor time; temporary memory is the compiler's account.
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
from workloads import make_task

HERE = Path(__file__).resolve().parent
AGENTS, ROUNDS = 100, 20


class Side:
    """One way to serve the agents, under way."""

    def __init__(self, experiment: Any, *, in_groups: bool) -> None:
        from consilience.simulation import precision
        from consilience.simulation.ensemble import Ensemble
        from consilience.simulation.exchange import EVERYBODY

        self.experiment, self.working = experiment, precision
        with precision(experiment.dtype):
            self.ensemble = Ensemble(experiment, num_replicas=1, same_seed=True)
            if not in_groups:
                vars(self.ensemble._exchange)["groups"] = (EVERYBODY,)
            self.replicas = self.ensemble.replicas([experiment.algorithm], [0])
            self.state = self.ensemble.initial_state(self.replicas, self.ensemble.initial_params([0]))
        self.milliseconds()  # compiles

    def milliseconds(self) -> float:
        """Processor time of a round."""
        import jax

        with self.working(self.experiment.dtype):
            start = time.process_time()
            jax.block_until_ready(self.ensemble.advance(self.state, self.replicas, [0], 0, ROUNDS, ROUNDS))
            return 1e3 * (time.process_time() - start) / ROUNDS

    def megabytes(self) -> float:
        """Temporary memory of the program of the rounds."""
        (program,) = [one for name, one in self.ensemble._programs.items() if name.startswith("advance")]
        return program.memory_analysis().temp_size_in_bytes / 2**20


def main() -> None:
    import consilience as cs
    from consilience.simulation import resolve_experiment

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-dir", default=None)
    arguments = parser.parse_args()
    task, which = make_task("mnist", arguments.data_dir)
    lines = ["| graph | padded: ms, MB | in groups: ms, MB | padded over groups |", "|---|---|---|---|"]
    for graph in (
        cs.graphs.random_regular(AGENTS, 4, seed=0),
        cs.graphs.barabasi_albert(AGENTS, 2, seed=0),
        cs.graphs.star(AGENTS),
    ):
        experiment = resolve_experiment(
            cs.algorithms.TriadicCoupling(0.01, 1.0, triadic_coupling=1.0, selectivity=1.0),
            model=cs.models.mlp(depth=1, width=20),
            task=task,
            shards=cs.tasks.iid(task, num_agents=AGENTS),
            graph=graph,
            num_rounds=ROUNDS,
            batch_size=32,
            observe=(),
        )
        padded, grouped = (Side(experiment, in_groups=in_groups) for in_groups in (False, True))
        times = np.array([(padded.milliseconds(), grouped.milliseconds()) for _ in range(arguments.repeats)])
        ratios, (before, after) = times[:, 0] / times[:, 1], np.median(times, axis=0)
        lines.append(
            f"| {graph.name} | {before:.0f}, {padded.megabytes():,.0f} | {after:.0f}, {grouped.megabytes():,.0f} | "
            f"{np.median(ratios):.1f} ({ratios.min():.1f} – {ratios.max():.1f}) |"
        )
        print(lines[-1], flush=True)
    report = [
        "# Single messages, padded and in groups",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; {which}; "
        f"triadic coupling, {AGENTS} agents, one replica, {arguments.repeats} alternating repeats: medians, and the "
        "range of the ratio, of processor times per round.",
        "",
        *lines,
        "",
        "Made by `python benchmarks/single_messages.py`.",
    ]
    (HERE / "reports" / "single_messages.md").write_text("\n".join(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
