"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DataDir = Annotated[str | None, typer.Option("--data-dir", help="Where data sets are looked for first.", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]
Force = Annotated[
    bool, typer.Option("--force", help="Compute again, as a new attempt beside what is stored; nothing is overwritten.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a value, e.g. num_rounds=1000; may be repeated.", metavar="PATH=VALUE"),
]
StorePath = Annotated[
    str | None,
    typer.Option(
        "--store", help="Where results are kept; $CONSILIENCE_STORE or the user's data directory by default.",
        metavar="DIR",
    ),
]  # fmt: skip
Output = Annotated[str, typer.Option("--output", help="Where figures are written.", metavar="DIR")]
Executor = Annotated[
    str,
    typer.Option(
        "--executor", help="Where blocks of a sweep run: local (on threads), processes, or ray (on a cluster).",
        metavar="NAME",
    ),
]  # fmt: skip
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Blocks side by side; as many as there are processors by default.", metavar="N"),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="A Ray cluster, 'auto' for the one of this machine; by default a private one is started.",
        metavar="ADDRESS",
    ),
]  # fmt: skip
