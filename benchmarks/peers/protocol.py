"""What an adapter is: a process that reads a problem, and trains its population when it is told to.

Every adapter calls `serve` with a function that makes a `Runner`. `serve` reads `problem.npz` from the directory that
it is given, says which version it runs, then obeys commands, one JSON object per line of standard input, and answers
each with one on standard output:

    {"do": "check", "learning_rate": 0.1, "rounds": 5, "exchanges": 2}   parameters after each, into outputs.npz
    {"do": "time", "learning_rate": 0.005, "rounds": 400}                {"seconds": ...}
    {"do": "threads", "threads": 2}                                      PyTorch only, from now on

Imports nothing but NumPy, since it runs in the environment of each peer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Params = dict[str, np.ndarray]
LEAVES = ("weight_0", "bias_0", "weight_1", "bias_1")
"""The parameters of a 784-20-10 network; a weight has the shape (inputs, outputs)."""


@dataclass(frozen=True)
class Problem:
    """Data, mini-batches and initial parameters.

    Attributes:
        images: float32, shape (samples, 784).
        labels: int64, shape (samples,).
        batches: indices into both, shape (rounds, agents, batch); later rounds start again.
        common: initial parameters, the same for all agents, leaves (agents, ...).
        distinct: initial parameters, other for each agent, leaves (agents, ...).
    """

    images: np.ndarray
    labels: np.ndarray
    batches: np.ndarray
    common: Params
    distinct: Params

    @property
    def num_agents(self) -> int:
        """N."""
        return self.batches.shape[1]

    def batch(self, round: int) -> np.ndarray:
        """The mini-batches of all agents in a round, shape (agents, batch)."""
        return self.batches[round % len(self.batches)]

    def save(self, directory: Path) -> None:
        """Write `problem.npz`."""
        params = {
            f"{kind}/{name}": leaf for kind in ("common", "distinct") for name, leaf in getattr(self, kind).items()
        }
        np.savez(directory / "problem.npz", images=self.images, labels=self.labels, batches=self.batches, **params)


def load_problem(directory: Path) -> Problem:
    """The inverse of `Problem.save`."""
    with np.load(directory / "problem.npz", allow_pickle=False) as archive:
        params = [{name: archive[f"{kind}/{name}"] for name in LEAVES} for kind in ("common", "distinct")]
        return Problem(archive["images"], archive["labels"], archive["batches"], *params)


class Runner(Protocol):
    """A population on its way through the rounds."""

    def advance(self, first_round: int, num_rounds: int) -> None:
        """Run some rounds; when it returns, they are done."""
        ...

    def params(self) -> Params:
        """The parameters now, leaves (replicas, agents, ...)."""
        ...

    def close(self) -> None:
        """Give back what the runner holds."""
        ...


Make = Callable[[Problem, Params, float], Runner]
"""Problem, initial parameters (leaves (agents, ...)), learning rate → population in round 0."""
Exchange = Callable[[Problem], Params]
"""Problem → `distinct` after full exchanges and nothing else, leaves (replicas, agents, ...)."""


@dataclass
class _Clock:
    """The population whose time is taken, and its round."""

    runner: Runner | None = None
    round: int = field(default=0)


def _rounds_without_learning(make: Make, problem: Problem, num_rounds: int) -> Params:
    runner = make(problem, problem.distinct, 0.0)
    runner.advance(0, num_rounds)
    result = runner.params()
    runner.close()
    return result


def _check(problem: Problem, make: Make, exchange: Exchange | None, command: dict[str, Any]) -> Params:
    exchanged = exchange(problem) if exchange else _rounds_without_learning(make, problem, command["exchanges"])
    runner = make(problem, problem.common, command["learning_rate"])
    runner.advance(0, command["rounds"])
    trained = runner.params()
    runner.close()
    both = {"exchange": exchanged, "training": trained}
    return {f"{kind}/{name}": leaf for kind, params in both.items() for name, leaf in params.items()}


def _time(clock: _Clock, problem: Problem, make: Make, command: dict[str, Any]) -> dict[str, float]:
    if clock.runner is None:
        clock.runner = make(problem, problem.common, command["learning_rate"])
    start = time.perf_counter()
    clock.runner.advance(clock.round, command["rounds"])
    seconds = time.perf_counter() - start
    clock.round += command["rounds"]
    return {"seconds": seconds}


def _commands() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def serve(distributions: Sequence[str], make: Make, exchange: Exchange | None = None) -> None:
    """Obey the driver until it closes standard input.

    Args:
        distributions: installed distributions whose versions are told, the peer's own first.
        make: makes a population.
        exchange: for libraries whose agents cannot start a round from different parameters: what they exchange with,
            called by itself. By default rounds at learning rate 0.
    """
    # Libraries print progress and banners: those go to standard error, and only answers to the driver.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    directory = Path(sys.argv[1])
    problem = load_problem(directory)
    clock = _Clock()
    print(json.dumps({"versions": {name: version(name) for name in distributions}}), file=answers, flush=True)
    for command in _commands():
        answer: dict[str, Any] = {}
        if command["do"] == "check":
            np.savez(directory / "outputs.npz", allow_pickle=False, **_check(problem, make, exchange, command))
        elif command["do"] == "threads":
            sys.modules["torch"].set_num_threads(command["threads"])
        else:
            answer = _time(clock, problem, make, command)
        print(json.dumps(answer), file=answers, flush=True)
    if clock.runner is not None:
        clock.runner.close()
