"""The runtime model next to processes that compute, and send each other messages over loopback.

    python benchmarks/runtime_model.py

Each agent is a process. What it needs to compute is random, and links are as slow as they are told to be
(`runtime_model_process.py`). What the model takes is measured before and apart: how long agents compute, with nothing
sent, and latency and bandwidth, from round trips of messages of two sizes. Nothing is fitted to the runs that are
predicted. `consilience.theory.runtime_model` then says the seconds per iteration of all-reduce on a ring, and of the
one-peer exponential graph with parameters that travel during the gradient or after it.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime_model_process import Case, Link, Work, serve

HERE = Path(__file__).resolve().parent
CLAIM = 0.15
"""Of the measured time per iteration, by which the model may be off."""
SCHEDULES = ("all-reduce", "overlapped", "adapt-then-combine")
PROBES, ROUND_TRIPS = (4096, 409_600), 5
"""Bytes of the messages of which bandwidth and latency are measured, and how often they go there and back."""
RESAMPLED = 20
"""Tables of computing times that are drawn from those measured, over which predictions are averaged."""


@dataclass(frozen=True)
class Population:
    """Agents, and what they are measured on.

    Attributes:
        num_agents: processes, a power of two.
        work: of one gradient.
        link: what links are told to be.
        sizes: bytes of messages.
        accumulations: gradients between two exchanges.
        num_gradients: that each agent takes in a run, and computes when its times are measured.
    """

    num_agents: int
    work: Work
    link: Link
    sizes: tuple[int, ...]
    accumulations: tuple[int, ...]
    num_gradients: int

    def cases(self, seed: int) -> list[Case]:
        """One for each row of the table."""
        rows = itertools.product(SCHEDULES, self.accumulations, self.sizes)
        return [Case(name, size, s, self.num_gradients // s, seed) for name, s, size in rows]


# Times that are long against the delays of a busy machine's scheduler, some milliseconds. The smaller message travels
# for a sixth of a gradient, the larger for as long as one.
WAITING = Population(8, Work("sleep", 0.1, 0.3), Link(3e-3, 4e6), (51_200, 409_600), (1, 4), 60)
COMPUTING = replace(WAITING, num_agents=2, work=Work("numpy", 0.1, 0.3), sizes=(51_200,), num_gradients=40)


class Crew:
    """The processes of a population."""

    def __init__(self, population: Population) -> None:
        context = multiprocessing.get_context("spawn")
        n = population.num_agents
        barrier = context.Barrier(n)
        ends = [context.Pipe() for _ in range(n)]
        self._pipes = [own for own, _ in ends]
        self._processes = [
            context.Process(target=serve, args=(i, n, population.link, population.work, theirs, barrier), daemon=True)
            for i, (_, theirs) in enumerate(ends)
        ]
        for process in self._processes:
            process.start()
        self._tell([self._answers()] * n)

    def run(self, order: Any) -> list[Any]:
        """What each agent says after it did what it was told."""
        self._tell([order] * len(self._pipes))
        return self._answers()

    def stop(self) -> None:
        """End the processes."""
        self._tell([None] * len(self._pipes))
        for process in self._processes:
            process.join(10)

    def _tell(self, orders: list[Any]) -> None:
        for pipe, order in zip(self._pipes, orders, strict=True):
            pipe.send(order)

    def _answers(self) -> list[Any]:
        for pipe in self._pipes:
            if not pipe.poll(300):
                raise SystemExit("An agent's process does not answer any more: see its error above.")
        return [pipe.recv() for pipe in self._pipes]


@contextmanager
def crew_of(population: Population) -> Iterator[Crew]:
    """Processes that end with the block."""
    crew = Crew(population)
    try:
        yield crew
    finally:
        crew.stop()


@dataclass(frozen=True)
class Measured:
    """What the model takes, measured with nothing else under way.

    Attributes:
        compute: seconds of gradients, shape (gradients, agents).
        link: latency and bandwidth.
    """

    compute: np.ndarray
    link: Link

    def table(self, case: Case, random: np.random.Generator) -> np.ndarray:
        """Computing times of a run of this kind, drawn from those measured, shape (iterations, agents)."""
        shape = (case.num_iterations, case.accumulation)
        return np.stack([random.choice(column, shape).sum(axis=1) for column in self.compute.T], axis=1)


def measure(crew: Crew, population: Population, seed: int) -> Measured:
    """Computing times, and latency and bandwidth from the mean round trips of two sizes."""
    compute = np.array(crew.run(("compute", population.num_gradients, seed))).T
    answers = [one for agent in crew.run(("links", list(PROBES), ROUND_TRIPS))[::2] for one in agent]
    # Means, since an iteration's delays add up.
    small, large = (float(np.mean([s for size, s in answers if size == wanted])) for wanted in PROBES)
    bandwidth = (PROBES[1] - PROBES[0]) / (large - small)
    return Measured(compute, Link(max(small - PROBES[0] / bandwidth, 0.0), bandwidth))


def predicted(case: Case, compute: np.ndarray, link: Link) -> float:
    """The model's seconds per iteration."""
    from consilience.theory import runtime_model as model

    num_agents = compute.shape[1]
    if case.schedule == "all-reduce":
        ring = model.ring_all_reduce_time(case.num_bytes, num_agents, bandwidth=link.bandwidth, latency=link.latency)
        return model.time_per_iteration(model.all_reduce_starts(compute, ring))
    period = max(1, (num_agents - 1).bit_length())
    listens = np.stack([np.roll(np.eye(num_agents), 2**k, axis=1) for k in range(period)])
    travel = model.link_time(case.num_bytes, bandwidth=link.bandwidth, latency=link.latency)
    overlap = case.schedule == "overlapped"
    return model.time_per_iteration(model.decentralised_starts(compute, listens, travel, overlap=overlap))


@dataclass(frozen=True)
class Outcome:
    """Seconds per iteration of one run.

    Attributes:
        clock: measured.
        model: predicted from what was measured before.
        informed: predicted from the same latency and bandwidth, and the run's own computing times.
    """

    clock: float
    model: float
    informed: float


def outcome(crew: Crew, case: Case, measured: Measured) -> Outcome:
    """One run, checked, and what the model says of it."""
    from consilience.theory.runtime_model import time_per_iteration

    answers = crew.run(case)
    error = max(answer["error"] for answer in answers)
    # Sums of eight numbers below 14 in single precision, a few hundred times.
    if error > 1e-4:
        raise SystemExit(f"The agents' values are {error:.1e} from their mean: messages were lost or mixed up.")
    starts, computed = (np.array([answer[what] for answer in answers]).T for what in ("starts", "computed"))
    random = np.random.default_rng(case.seed)
    models = [predicted(case, measured.table(case, random), measured.link) for _ in range(RESAMPLED)]
    return Outcome(time_per_iteration(starts), float(np.mean(models)), predicted(case, computed, measured.link))


def compare(population: Population, repeats: int) -> tuple[list[Measured], dict[Case, list[Outcome]]]:
    """Everything, `repeats` times; what the model takes is measured anew before each run."""
    measured, outcomes = [], {}
    with crew_of(population) as crew:
        for repeat in range(repeats):
            for case, row in zip(population.cases(repeat), population.cases(0), strict=True):
                measured.append(measure(crew, population, seed=1000 + len(measured)))
                outcomes.setdefault(row, []).append(outcome(crew, case, measured[-1]))
    return measured, outcomes


def section(title: str, population: Population, repeats: int) -> tuple[str, list[float]]:
    """The report on one population, and by how much the model is off in each row."""
    from throughput import spread

    measured, outcomes = compare(population, repeats)
    lines = [
        f"## {title}",
        "",
        "| schedule | gradients per exchange | kB | measured, ms per iteration | model, ms | model / measured | with "
        "the run's own computing times |",
        "|---|---|---|---|---|---|---|",
    ]
    off = []
    for case, runs in outcomes.items():
        ratios = [run.model / run.clock for run in runs]
        off.append(float(np.median(ratios)) - 1)
        mark = "" if abs(off[-1]) <= CLAIM else " **(missed)**"
        clocks, models = ([1e3 * getattr(run, what) for run in runs] for what in ("clock", "model"))
        lines.append(
            f"| {case.schedule} | {case.accumulation} | {case.num_bytes / 1000:.0f} | {spread(clocks, '.1f')} | "
            f"{spread(models, '.1f')} | {spread(ratios, '.3f')}{mark} | "
            f"{spread([run.informed / run.clock for run in runs], '.3f')} |"
        )
    n, work, link = population.num_agents, population.work, population.link
    means, deviations = zip(*((m.compute.mean(), m.compute.std() / m.compute.mean()) for m in measured), strict=True)
    lines += [
        "",
        f"- {n} processes; a gradient is {'sleep' if work.kind == 'sleep' else 'NumPy matrix products on one thread'}, "
        f"gamma-distributed, {1e3 * work.mean:.0f} ms ± {work.deviation:.0%}. Measured with nothing sent: "
        f"{spread([1e3 * one for one in means], '.1f')} ms ± {spread([1e2 * one for one in deviations], '.0f')} %.",
        f"- Links are told {1e3 * link.latency:.1f} ms and {link.bandwidth / 1e6:.0f} MB/s. Measured by round trips: "
        f"{spread([1e3 * one.link.latency for one in measured], '.2f')} ms and "
        f"{spread([one.link.bandwidth / 1e6 for one in measured], '.2f')} MB/s.",
        f"- {population.num_gradients} gradients per agent and run; {repeats} repeats, median (range).",
    ]
    return "\n".join(lines), off


def report_of(text: str, off: list[float], load: float, seconds: float) -> str:
    """The report: how often the claim holds, the table, and what was measured how."""
    from throughput import processor

    within = sum(abs(one) <= CLAIM for one in off)
    notes = [
        f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {processor()}; {os.cpu_count()} processors; load average "
        f"{load:.1f} before the run and {os.getloadavg()[0]:.1f} after it, {seconds:.0f} s later. "
        f"Python {platform.python_version()}, NumPy {np.__version__}.",
        "- Messages travel over TCP on loopback, written at the pace of the bandwidth and handed on after the latency. "
        "Agents that sleep are not short of processors, however many they are; what they send and add up is real. "
        "Agents that compute (`--computing`) need a machine on which nothing else runs.",
        "- All-reduce: pieces of 1/N of the message go round the ring in 2 (N − 1) steps; an agent goes on when it has "
        "them, without a barrier. The others: in iteration t agent i listens to i + 2^(t mod log₂ N) alone. After each "
        "run all agents' values are compared with their mean.",
        "- What the model takes is measured before each run. Computing times are drawn from those measured, agent by "
        f"agent, and the prediction is the mean of {RESAMPLED} such draws; the last column takes the run's own, so "
        "that what is left is not the sample's.",
        "- Gradients per exchange: `DecentralisedAdam(accumulation=s)` exchanges at every gradient, whatever s is: "
        "that is the row of 1. Methods that exchange after s gradients are the other.",
    ]
    parts = [
        "# The runtime model next to processes\n\nMade by `python benchmarks/runtime_model.py`.",
        f"Claimed: within {CLAIM:.0%} of the measured time per iteration. In the median over repeats {within} of "
        f"{len(off)} rows are, and the largest error is {max(map(abs, off)):.1%}.",
        text,
        "## How\n\n" + "\n".join(notes),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4, help="measurements of each row")
    parser.add_argument(
        "--computing", action="store_true", help="two agents that compute, in place of eight that sleep"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test of a minute; no numbers to quote")
    parser.add_argument("--report", type=Path, default=HERE / "reports" / "runtime_model.md")
    arguments = parser.parse_args()
    # NumPy's products have one thread: an agent is one processor's worth of work. Processes inherit this.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    title, population = (
        ("Two agents that compute", COMPUTING) if arguments.computing else ("Eight agents that sleep", WAITING)
    )
    if arguments.quick:
        population = replace(population, num_gradients=16, sizes=(51_200,))
    load, start = os.getloadavg()[0], time.perf_counter()
    text, off = section(title, population, arguments.repeats)
    report = report_of(text, off, load, time.perf_counter() - start)
    print(report)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(report, encoding="utf-8")
    print(f"written: {arguments.report}")


if __name__ == "__main__":
    main()
