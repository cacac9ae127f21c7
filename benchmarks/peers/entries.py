"""One contestant at one number of agents: checked, warmed up, measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from contestants import Contestant
from process import Process
from protocol import Problem
from reference import CHECK_EXCHANGES, CHECK_LEARNING_RATE, CHECK_ROUNDS, Verdict, judge

LEARNING_RATE = 0.005
SECONDS_TO_CHECK, SECONDS_TO_TIME = 180.0, 40.0
LEAST_ROUNDS, MOST_ROUNDS = 3, 4000


@dataclass
class Entry:
    """One contestant at one number of agents, as far as it has come.

    Attributes:
        contestant: who.
        num_agents: N.
        versions: of the peer's distribution, and of the framework under it.
        verdict: what the check said.
        refusal: why it is not timed, or None.
        rounds: of each measurement.
        rates: agent-steps per second of each measurement.
        megabytes: peak memory.
        threads: of PyTorch, the fastest of those that were tried.
    """

    contestant: Contestant
    num_agents: int
    versions: dict[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    refusal: str | None = None
    rounds: int = 0
    rates: list[float] = field(default_factory=list)
    megabytes: float = float("nan")
    threads: int | None = None
    process: Process | None = None

    def ask(self, seconds: float, **command: Any) -> dict[str, Any]:
        assert self.process is not None
        return self.process.ask(seconds, **command)

    def time(self, rounds: int) -> float:
        """Seconds that some rounds take."""
        return self.ask(SECONDS_TO_TIME, do="time", rounds=rounds, learning_rate=LEARNING_RATE)["seconds"]

    def fail(self, reason: str) -> None:
        """Take it out of the comparison."""
        self.refusal = reason
        if self.process is not None:
            self.process.close()
            self.process = None


def check(entry: Entry, python: Path, problem: Problem, directory: Path) -> None:
    """Start the process and hold its answers against NumPy."""
    contestant, outputs = entry.contestant, directory / "outputs.npz"
    outputs.unlink(missing_ok=True)
    log = directory / f"{contestant.name}.log"
    entry.process = Process(python, contestant.adapter, directory, contestant.arguments, log)
    entry.versions = entry.process.answer(SECONDS_TO_CHECK)["versions"]
    numbers = {"rounds": CHECK_ROUNDS, "exchanges": CHECK_EXCHANGES, "learning_rate": CHECK_LEARNING_RATE}
    entry.ask(SECONDS_TO_CHECK, do="check", **numbers)
    with np.load(outputs, allow_pickle=False) as archive:
        entry.verdict = judge(dict(archive), problem, order=contestant.order, pulls=contestant.pulls)
    if entry.verdict.refusal:
        entry.fail(entry.verdict.refusal)


def warm_up(entry: Entry, rounds: int | None, seconds: float) -> None:
    """Compile, choose the number of threads, and choose how many rounds a measurement has."""
    entry.time(LEAST_ROUNDS)
    trials = {}
    for threads in entry.contestant.threads:
        entry.ask(SECONDS_TO_TIME, do="threads", threads=threads)
        trials[threads] = _seconds_per_round(entry, seconds / 2)
    if trials:
        entry.threads = min(trials, key=trials.__getitem__)
        entry.ask(SECONDS_TO_TIME, do="threads", threads=entry.threads)
    entry.rounds = rounds or _rounds_in(seconds, _seconds_per_round(entry, seconds / 4))


def _rounds_in(seconds: float, seconds_per_round: float) -> int:
    return int(np.clip(seconds / seconds_per_round, LEAST_ROUNDS, MOST_ROUNDS))


def _seconds_per_round(entry: Entry, seconds: float) -> float:
    """From a trial that takes about so many seconds."""
    rounds = _rounds_in(seconds, entry.time(LEAST_ROUNDS) / LEAST_ROUNDS)
    return entry.time(rounds) / rounds


def measure(entry: Entry) -> None:
    """One measurement."""
    steps = entry.rounds * entry.num_agents * len(entry.contestant.pulls)
    entry.rates.append(steps / entry.time(entry.rounds))
