"""`consilience report`: stored runs as a page that opens without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consilience.cli.application import app
from consilience.cli.console import messages, results
from consilience.cli.options import StorePath


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(help='Ids of runs, or their beginnings, or "latest"; several are compared.')
    ],
    output: Annotated[
        Path | None, typer.Option("--output", help="The HTML file; report-<id>.html by default.", metavar="FILE")
    ] = None,
    store: StorePath = None,
) -> None:
    """Write stored runs as one HTML page: figures, numbers, spec, versions, and how to make them again."""
    from consilience.reports import report as write_report
    from consilience.reports import summary
    from consilience.store import Store

    kept = Store(store) if store else Store.default()
    found = {run.id: run for run in map(kept.find, runs)}
    for run in found.values():
        about = summary(run)
        if not about.is_finished:
            counts = f"{about.blocks_done} of {about.blocks_total}"
            messages.print(f"Run {run.short_id} is not finished: {counts} blocks are there and reported.")
    name = "report-" + "-".join(run.short_id for run in list(found.values())[:3]) + ".html"
    results.print(f"report: {write_report(list(found.values()), output or Path(name))}")
