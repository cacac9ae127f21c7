"""`consilience compare`: theory against simulation."""

from __future__ import annotations

from typing import Annotated

import typer

from consilience.cli.application import app
from consilience.cli.options import DataDir, Force, Json, Output, Set, StorePath
from consilience.cli.reproduce import carry_out


@app.command()
def compare(
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="digits, mnist, fashion_mnist or cifar10; may be repeated. All by default."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The embedded digits only: minutes.")] = False,
    set_: Set = None,
    output: Output = "figures",
    store: StorePath = None,
    data_dir: DataDir = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Hold the effective theory against simulations: order, loss, accuracy and the order of learning, in one figure."""
    import dataclasses

    from consilience import recipes
    from consilience.errors import InvalidSpec

    recipe = recipes.get("theory-and-experiment")
    if quick and dataset:
        raise InvalidSpec("--quick compares on digits alone, and --dataset chooses others. Leave one of them out.")
    config = recipe.presets["quick" if quick else "default"]()
    if dataset:
        config = dataclasses.replace(config, datasets=tuple(dataset))
    carry_out(recipe, config, set_ or [], "", output, store, data_dir, force, json, estimated=True)
