"""`consilience serve`: the live laboratory in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from consilience.cli.application import app
from consilience.cli.console import messages, results
from consilience.cli.options import DataDir, StorePath


@app.command()
def serve(
    address: Annotated[
        str, typer.Option("--address", help="Where to listen; others than this machine's own ask for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")] = 5006,
    show: Annotated[bool, typer.Option("--show/--no-show", help="Open a browser.")] = False,
    store: StorePath = None,
    data_dir: DataDir = None,
) -> None:
    """Open the live laboratory: a page on which you couple networks and watch what happens."""
    from consilience.errors import InvalidSpec
    from consilience.simulation import use_compilation_cache
    from consilience.store import Store

    try:
        from consilience.dashboard.server import serve as serve_pages
    except ModuleNotFoundError as error:
        raise InvalidSpec(
            f"The live laboratory needs {error.name}, which is not installed. Write "
            "pip install 'consilience[dashboard]'."
        ) from error

    def announce(url: str, token: str | None) -> None:
        if token is not None:
            results.print(f"token:      {token} (log in with any name, and this as the password)", markup=False)
        results.print(f"laboratory: {url}", markup=False)
        messages.print("Ctrl-C ends it; runs and sessions are kept.")

    use_compilation_cache()
    kept = Store(store) if store else Store.default()
    try:
        serve_pages(kept, data_dir=data_dir, address=address, port=port, show=show, on_start=announce)
    except KeyboardInterrupt:
        messages.print("The laboratory is closed.")
