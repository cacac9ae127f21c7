"""The application that commands register with, and its own options."""

from __future__ import annotations

from typing import Annotated

import typer

from consilience import __version__

app = typer.Typer(
    name="consilience",
    help="The laboratory of collective deep learning: coupled neural networks, simulated, measured and stored.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"consilience {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Compute on cpu, gpu or tpu; the fastest that JAX finds by default.")
    ] = None,
) -> None:
    """The laboratory of collective deep learning."""
    if device is not None:
        from consilience.simulation import use_device

        use_device(device)
