"""A report of stored runs: one HTML file that opens without a server, and needs nothing from elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from consilience import plots
from consilience.errors import InvalidSpec, StoreError
from consilience.reports.computations import cells_table, computation_figures
from consilience.reports.facts import facts, failures, side_by_side, unfinished
from consilience.reports.figures import Drawing, figures, overlaid
from consilience.reports.numbers import Table, comparison_table, observables_table
from consilience.reports.replicas import Replicas
from consilience.reports.reproduction import command, missing, python_lines
from consilience.reports.summary import Summary, summary
from consilience.store import Run

_LARGEST_SVG = 1_000_000
"""Bytes; larger figures are put into the page as PNG."""
_DOTS_PER_INCH = 96
"""Of CSS: at this size letters have the size that they were drawn with."""


@dataclass(frozen=True)
class _Picture:
    """A figure in the page: its words, and itself as a data URI."""

    drawing: Drawing
    uri: str
    width: int
    height: int

    @classmethod
    def of(cls, drawing: Drawing) -> _Picture:
        svg = plots.to_svg(drawing.figure).encode()
        is_small = len(svg) <= _LARGEST_SVG
        kind, content = ("svg+xml", svg) if is_small else ("png", plots.to_png(drawing.figure))
        width, height = (round(inches * _DOTS_PER_INCH) for inches in drawing.figure.get_size_inches())
        return cls(drawing, f"data:image/{kind};base64,{base64.b64encode(content).decode()}", width, height)


@dataclass(frozen=True)
class _Reported:
    """What the page says of a run."""

    label: str
    summary: Summary
    facts: list[tuple[str, str]]
    warnings: list[str]
    replicas: Replicas | None
    pictures: list[_Picture]
    table: Table | None
    command: str | None
    python: str
    missing: list[str]
    holds_spec: bool
    resolved: str


def report(runs: Sequence[Run], path: str | Path) -> Path:
    """Write a report of one run, or of several next to each other.

    Args:
        runs: at least one, each once; `Store.find` finds them. A sweep that is not finished is reported with what
            there is, and says so.
        path: of the HTML file; its directory is made, and a file that is there replaced.

    Returns:
        The path.

    Raises:
        InvalidSpec: there is no run.
        StoreError: a run's spec or record cannot be read.

    Example:
        >>> import tempfile
        >>> from consilience.store import Store
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     run = Store(directory).open_run("0" * 64, {"computation": {"subject": "squares"}, "cells": []})
        ...     run.update_record(title="my squares")
        ...     "<title>my squares</title>" in report([run], f"{directory}/report.html").read_text()
        True
    """
    path = Path(path)
    text = page(runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def page(runs: Sequence[Run]) -> str:
    """The text of the page that `report` writes; the same for the same runs.

    Raises:
        InvalidSpec: there is no run.
        StoreError: a run's spec or record cannot be read.

    Example:
        >>> import tempfile
        >>> from consilience.store import Store
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     run = Store(directory).open_run("0" * 64, {"computation": {"subject": "squares"}, "cells": []})
        ...     page([run]) == page([run])
        True
    """
    if not runs:
        raise InvalidSpec("There is no run to report. Give at least one, [store.find('latest')] say.")
    found = [summary(run) for run in runs]
    titles = [one.title for one in found]
    labels = [one.title if titles.count(one.title) == 1 else f"{one.title} ({one.short_id})" for one in found]
    reported = [_reported(*parts) for parts in zip(runs, found, labels, strict=True)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("consilience.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    title = labels[0] if len(reported) == 1 else f"{len(reported)} runs compared"
    return environment.get_template("report.html").render(
        title=title, runs=reported, comparison=_comparison(reported) if len(reported) > 1 else None
    )


def _reported(run: Run, about: Summary, label: str) -> _Reported:
    replicas, drawings, table, problems = _results(run, about)
    return _Reported(
        label=label,
        summary=about,
        facts=facts(about),
        warnings=[*unfinished(about), *problems, *failures(replicas)],
        replicas=replicas,
        pictures=[_Picture.of(drawing) for drawing in drawings],
        table=table,
        command=command(run),
        python=python_lines(run),
        missing=missing(run),
        holds_spec="spec" in (run.record.get("source") or {}),
        resolved=json.dumps(run.spec, indent=2, ensure_ascii=False),
    )


def _results(run: Run, about: Summary) -> tuple[Replicas | None, list[Drawing], Table | None, list[str]]:
    """What there is of the results: replicas of a sweep, figures, a table, and what is wrong."""
    if about.kind == "computation":
        cells = {name: cell for name in run.spec["cells"] if (cell := run.load(name)) is not None}
        return None, computation_figures(cells), cells_table(cells), []
    try:
        replicas = Replicas.load(run)
    except StoreError as error:
        return None, [], None, [str(error)]
    return replicas, figures(replicas), observables_table(replicas), []


def _comparison(reported: Sequence[_Reported]) -> dict[str, Any]:
    """Facts of all runs side by side, their numbers in one table, and figures in the same axes."""
    simulated = {one.label: one.replicas for one in reported if one.replicas is not None}
    return {
        "rows": side_by_side([one.summary for one in reported]),
        "table": comparison_table(simulated) if len(simulated) > 1 else None,
        "pictures": [_Picture.of(drawing) for drawing in (overlaid(simulated) if len(simulated) > 1 else [])],
    }
