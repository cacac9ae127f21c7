"""`consilience`: the command line's entry point, and how errors end."""

from __future__ import annotations

import sys

from consilience.cli import (  # noqa: F401 (they register their commands)
    catalog,
    compare,
    experiments,
    inspection,
    launch,
    predict,
    predict_rounds,
    report,
    reproduce,
    serve,
)
from consilience.cli.application import app
from consilience.cli.console import messages, print_error, show_warnings
from consilience.errors import ConsilienceError

_INTERRUPTED = 130
"""The exit code into which typer turns Ctrl-C."""


def run(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit code 2 is the user's mistake, 1 any other failure, 130 an interruption."""
    arguments = sys.argv[1:] if arguments is None else arguments
    show_warnings()
    try:
        app(arguments, prog_name="consilience")
    except ConsilienceError as error:
        if "--debug" in arguments:
            raise
        print_error(str(error))
        raise SystemExit(1 if isinstance(error, RuntimeError) else 2) from None
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            messages.print("Interrupted. What was finished is stored; the same command goes on from there.")
        raise
    except OSError as error:
        if "--debug" in arguments:
            raise
        print_error(f"{error.strerror or error} ({error.filename or 'no file'}). What was finished is stored.")
        raise SystemExit(1) from None


if __name__ == "__main__":
    run()
