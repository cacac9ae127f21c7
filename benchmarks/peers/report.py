"""The table, in Markdown."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contestants import LOOP
from entries import LEARNING_RATE, Entry
from reference import CHECK_LEARNING_RATE, CHECK_ROUNDS, TOLERANCE

COLUMNS = ("peer", "version", "agents", "agent-steps per second", "ratio to the loop", "peak MB", "note")


@dataclass(frozen=True)
class Context:
    """What the numbers depend on besides the code.

    Attributes:
        data: which images.
        load: load average before the run.
        repeats: measurements of each contestant.
        seconds: that the comparison took, without installations.
    """

    data: str
    load: float
    repeats: int
    seconds: float


def _processor() -> str:
    """The processor's model, as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _spread(values: Sequence[float], form: str) -> str:
    """Median and range."""
    return f"{np.median(values):{form}} ({min(values):{form}} – {max(values):{form}})"


def _row(entry: Entry, loop: Entry | None, note: int) -> tuple[str, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in entry.versions.items()) or "–"
    start = (entry.contestant.title, versions, str(entry.num_agents))
    if entry.refusal is not None:
        return (*start, entry.refusal.replace("|", "/"), "–", "–", f"[{note}]")
    ratio = "–"
    if loop is not None and len(loop.rates) == len(entry.rates):
        ratio = _spread([own / other for own, other in zip(entry.rates, loop.rates, strict=True)], ".2f")
    return (*start, _spread(entry.rates, ",.0f"), ratio, f"{entry.megabytes:,.0f}", f"[{note}]")


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(COLUMNS) + "|", *lines[1:]])


def _notes(entries: Sequence[Entry]) -> list[str]:
    """What the table cannot say: one entry for each contestant, in the order of the rows."""
    notes: dict[str, list[str]] = {}
    for entry in entries:
        contestant = entry.contestant
        notes.setdefault(contestant.name, [f"**{contestant.title}.** {contestant.semantics}"])
        found = [f"{entry.num_agents} agents:"]
        if entry.rates:
            found.append(f"{entry.rounds} rounds per measurement;")
        if entry.threads is not None:
            found.append(f"{entry.threads} thread{'s' * (entry.threads > 1)};")
        if entry.verdict is not None and entry.verdict.refusal is None:
            found.append(f"checked to {max(entry.verdict.mean, entry.verdict.agreement, entry.verdict.training):.0e}.")
        if len(found) > 1:
            notes[contestant.name].append(" ".join(found))
    return [f"{number}. {' '.join(parts)}" for number, parts in enumerate(notes.values(), start=1)]


def report(entries: Sequence[Entry], context: Context) -> str:
    """The page."""
    order = list(dict.fromkeys(entry.contestant.name for entry in entries))
    loops = {entry.num_agents: entry for entry in entries if entry.contestant.name == LOOP and entry.rates}
    rows = [_row(entry, loops.get(entry.num_agents), order.index(entry.contestant.name) + 1) for entry in entries]
    notes = _notes(entries)
    listed = [
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {_processor()}, {os.cpu_count()} processors; Python "
        f"{platform.python_version()}; load average before the run {context.load:.1f}. The comparison took "
        f"{context.seconds:.0f} s.",
        f"Data: {context.data}. One class per agent; agents share a class when they are more "
        "than classes. Networks 784-20-10 with ReLU, cross-entropy, mini-batches of 32, plain SGD at learning rate "
        f"{LEARNING_RATE}, float32, complete graph. A round is one gradient step of every agent and one average.",
        "An agent-step is one mini-batch gradient and one exchange of one agent.",
        f"Median (range) of {context.repeats} measurements. The peers take turns within one run, and all but one are "
        "stopped; the ratio is taken measurement by measurement. Making populations, compiling and a first few rounds "
        "are not counted.",
        "All but consilience are given their mini-batches ready made, so that drawing them costs nothing. Each takes "
        "as many threads as it does by itself, unless its note says how many.",
        "Peak MB is the peak of resident memory, with the interpreter, libraries and data (188 MB of images); for "
        "several processes the sum of what they hold after the last measurement, shared pages counted once.",
        "Checked before it is timed: without learning, from other parameters for each agent, exchanges keep the mean "
        "over agents and bring all agents to it (or as near as the coupling says); "
        f"{CHECK_ROUNDS} rounds at learning rate {CHECK_LEARNING_RATE} from common parameters on given mini-batches "
        f"agree with a NumPy reference in double precision. Both to {TOLERANCE:g}, relative; each note says how near.",
    ]
    head = "# consilience next to its peers\n\nMade by `make bench-peers` (`benchmarks/peers/compare.py`)."
    bullets = "\n".join(f"- {line}" for line in listed)
    return (
        f"{head}\n\n{_table([COLUMNS, *rows])}\n\n## What each does\n\n"
        + "\n".join(notes)
        + f"\n\n## How\n\n{bullets}\n"
    )
