"""consilience next to its peers on one task: agent-steps per second, memory, and what each does differently.

    python benchmarks/peers/compare.py --data-dir DIRECTORY

Ten and a hundred agents with one class of MNIST each (a class is shared by ten of the hundred), 784-20-10 networks,
mini-batches of 32, plain SGD at learning rate 0.005. A round is one gradient step and an average over the complete
graph. Every peer runs in its own environment, is first checked against NumPy, and is then timed in turn with the
others.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from contestants import CONTESTANTS, Contestant
from entries import Entry, check, measure, warm_up
from environments import NotInstalled, interpreter
from problems import images_and_labels, make_problem
from process import PeerFailed
from protocol import Problem
from report import Context, report

PROJECT = Path(__file__).resolve().parents[2]


Pythons = dict[str | None, Path | NotInstalled]
"""Environment → its interpreter, or why there is none."""


def prepare(contestants: Sequence[Contestant], root: Path) -> Pythons:
    """Make the environments that are not there yet."""
    pythons: Pythons = {}
    for name in dict.fromkeys(contestant.environment for contestant in contestants):
        try:
            pythons[name] = interpreter(name, root)
        except NotInstalled as failure:
            pythons[name] = failure
    return pythons


def compare(
    problem: Problem, contestants: Sequence[Contestant], pythons: Pythons, arguments: argparse.Namespace
) -> list[Entry]:
    """All contestants on one problem, in turn."""
    entries = [Entry(contestant, problem.num_agents) for contestant in contestants]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        problem.save(directory)
        stack.callback(lambda: [entry.process.close() for entry in entries if entry.process])

        def attempt(what: str, action: Callable[[Entry], None]) -> None:
            for entry in (entry for entry in entries if entry.refusal is None):
                print(f"{problem.num_agents} agents: {what} {entry.contestant.name}", flush=True)
                try:
                    action(entry)
                except (PeerFailed, NotInstalled) as failure:
                    entry.fail(f"not run: {failure}")
                    print(f"  {entry.refusal}")

        def start(entry: Entry) -> None:
            python = pythons[entry.contestant.environment]
            if isinstance(python, NotInstalled):
                raise python
            check(entry, python, problem, directory)
            print(f"  {entry.verdict}" if not entry.refusal else f"  {entry.refusal}")

        attempt("checking", start)
        attempt("warming up", lambda entry: warm_up(entry, arguments.rounds, arguments.seconds))
        for repeat in range(arguments.repeats):
            attempt(f"measurement {repeat + 1} of", measure)
        for entry in entries:
            if entry.process is not None:
                entry.megabytes = entry.process.peak_megabytes()
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--agents", type=int, nargs="+", default=[10, 100], help="numbers of agents")
    parser.add_argument("--only", nargs="+", choices=names, help="these contestants only")
    parser.add_argument("--rounds", type=int, help="rounds of each measurement, instead of a time")
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long each measurement takes")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each contestant, in turn")
    parser.add_argument("--data-dir", help="where MNIST is looked for first")
    parser.add_argument("--environments", type=Path, default=PROJECT / ".venv-peers", help="where they are installed")
    parser.add_argument("--report", type=Path, default=PROJECT / "benchmarks" / "reports" / "peers.md")
    arguments = parser.parse_args()
    chosen = [contestant for contestant in CONTESTANTS if arguments.only is None or contestant.name in arguments.only]
    pythons = prepare(chosen, arguments.environments.resolve())
    load = os.getloadavg()[0]
    images, labels, data = images_and_labels(arguments.data_dir)
    entries, seconds = [], 0.0
    for num_agents in arguments.agents:
        start = time.perf_counter()
        entries += compare(make_problem(images, labels, num_agents), chosen, pythons, arguments)
        seconds += time.perf_counter() - start
    text = report(entries, Context(data, load, arguments.repeats, seconds))
    print(text)
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(text, encoding="utf-8")
    print(f"written: {arguments.report}")


if __name__ == "__main__":
    main()
