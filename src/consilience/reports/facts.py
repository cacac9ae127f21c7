"""What is said of a run before its figures: facts, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consilience.reports.replicas import SEED, Replicas, shown
from consilience.reports.summary import Summary

_MOST_FAILURES = 20
_MOST_VALUES = 24


def facts(about: Summary) -> list[tuple[str, str]]:
    """Name and value of what a reader wants to know first; no more than this run has.

    Example:
        >>> facts(Summary("0" * 64, "computation", algorithm="squares", blocks_done=1, blocks_total=2))
        [('subject', 'squares'), ('blocks', '1 of 2'), ('time spent', '0.0 s'), ('size on disk', '0.00 MB')]
    """
    return [(name, value) for name, value in _all_facts(about) if value]


def side_by_side(summaries: Sequence[Summary]) -> list[tuple[str, list[str], bool]]:
    """The facts of several runs, a row for each: its name, the value for each run, and whether the runs differ in it.

    Example:
        >>> runs = [Summary(digit * 64, "sweep", graph=graph) for digit, graph in (("0", "cycle(5)"), ("1", "star(5)"))]
        >>> side_by_side(runs)[:2]
        [('id', ['000000000000', '111111111111'], True), ('graph', ['cycle(5)', 'star(5)'], True)]
    """
    columns = [_all_facts(about) for about in summaries]
    rows = [("id", [about.short_id for about in summaries], True)]
    for named in zip(*columns, strict=True):
        values = [value or "–" for _, value in named]
        if any(value for _, value in named):
            rows.append((named[0][0], values, len(set(values)) > 1))
    return rows


def unfinished(about: Summary) -> list[str]:
    """A sentence if blocks of the run are missing.

    Example:
        >>> unfinished(Summary("0" * 64, "sweep", blocks_done=1, blocks_total=1))
        []
    """
    if about.is_finished:
        return []
    return [
        f"Not finished: {about.blocks_done} of {about.blocks_total} blocks are there, and only they are in the figures "
        "and numbers. The command that made the run goes on with it."
    ]


def failures(replicas: Replicas | None) -> list[str]:
    """A sentence for each replica that did not complete; of very many, for the first twenty.

    Example:
        >>> import xarray as xr
        >>> variables = {"outcome": ("coupling", ["diverged"]), "final_round": ("coupling", [7])}
        >>> failures(Replicas.of(xr.Dataset(variables, {"coupling": [300.0]})))
        ['coupling = 300 diverged in round 7; no average contains it.']
    """
    found = [] if replicas is None else replicas.failures
    more = len(found) - _MOST_FAILURES
    listed = [f"{failure}; no average contains it." for failure in found[:_MOST_FAILURES]]
    return [*listed, f"{more} more replicas did not complete."] if more > 0 else listed


def _all_facts(about: Summary) -> list[tuple[str, str]]:
    """The same names for every run; "" for what a run of its kind does not have."""
    seeds = about.swept.get(SEED, [])
    swept = [f"{name.replace('_', ' ')}: {_values(values)}" for name, values in about.swept.items() if name != SEED]
    is_computation = about.kind == "computation"
    return [
        ("recipe", about.recipe),
        ("subject", about.algorithm if is_computation else ""),
        ("algorithm", "" if is_computation else about.algorithm),
        ("model", about.model),
        ("task", about.task),
        ("graph", about.graph),
        ("agents", str(about.num_agents or "")),
        ("protocol", about.protocol),
        ("rounds", f"{about.num_rounds:,}" if about.num_rounds else ""),
        ("swept", "; ".join(swept)),
        ("seeds", _values(seeds)),
        ("blocks", f"{about.blocks_done} of {about.blocks_total}"),
        ("begun", about.created.strftime("%Y-%m-%d %H:%M UTC") if about.created else ""),
        ("time spent", _duration(about.wall_seconds)),
        ("size on disk", f"{about.num_bytes / 1e6:.2f} MB"),
    ]


def _values(values: Sequence[Any]) -> str:
    texts = [shown(value) for value in values[:_MOST_VALUES]]
    return ", ".join(texts) + (f" … ({len(values)} values)" if len(values) > _MOST_VALUES else "")


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> _duration(12.34), _duration(754)
        ('12.3 s', '12 min 34 s')
    """
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60):,} min {int(seconds % 60)} s"
