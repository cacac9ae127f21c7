"""`consilience compare`: theory against simulation, and methods against each other."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from consilience.cli.application import app
from consilience.cli.options import DataDir, Force, Json, Output, Set, StorePath
from consilience.cli.reproduce import carry_out

compare = typer.Typer(invoke_without_command=True)
app.add_typer(compare, name="compare")


@compare.callback()
def theory(
    context: typer.Context,
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
    """Hold the effective theory against simulations: order, loss, accuracy and the order of learning, in one figure.

    `consilience compare algorithms` compares methods with each other instead.
    """
    import dataclasses

    from consilience import recipes
    from consilience.errors import InvalidSpec

    if context.invoked_subcommand is not None:
        _refuse_options_before(context)
        return
    recipe = recipes.get("theory-and-experiment")
    if quick and dataset:
        raise InvalidSpec("--quick compares on digits alone, and --dataset chooses others. Leave one of them out.")
    config = recipe.presets["quick" if quick else "default"]()
    if dataset:
        config = dataclasses.replace(config, datasets=tuple(dataset))
    carry_out(recipe, config, set_ or [], "", output, store, data_dir, force, json, estimated=True)


def _refuse_options_before(context: typer.Context) -> None:
    """Options of the comparison with theory would otherwise be ignored."""
    from consilience.errors import InvalidSpec

    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and str(getattr(context.get_parameter_source(parameter.name), "name", "")) == "COMMANDLINE"
    ]
    if given:
        raise InvalidSpec(
            f"{given[0]} stands before {context.invoked_subcommand!r} and would be ignored. Write `consilience compare "
            f"{context.invoked_subcommand} ... {given[0]} ...`."
        )


@compare.command()
def algorithms(
    methods: Annotated[list[str], typer.Argument(help="Methods, `consilience list algorithms`.", metavar="METHOD")],
    graph: Annotated[
        str | None,
        typer.Option("--graph", help="`consilience list graphs`, or a table: '{family = \"torus\", rows = 2}'."),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            "--partition", help="`consilience list partitions`, or a table: '{name = \"dirichlet\", alpha = 0.3}'."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="digits, mnist, fashion_mnist or cifar10.")] = None,
    agents: Annotated[int | None, typer.Option("--agents", help="Number of agents.")] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="What each method may spend: rounds=2000, bits=1e9 or gradients=1e6."),
    ] = None,
    rates: Annotated[
        str | None, typer.Option("--rates", help="Learning rates that are tried, the same for all: 0.003,0.01,0.03.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", help="Evaluations of each method.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits, few rounds: less than a minute.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="choco_sgd.consensus_step=0.1, graph.degree=4, partition.alpha=0.3, or a setting of the comparison, "
            "width=50; may be repeated.",
            metavar="PATH=VALUE",
        ),
    ] = None,
    output: Output = "figures",
    store: StorePath = None,
    data_dir: DataDir = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Compare methods, each at its best learning rate, on one graph and one budget: a table and a figure."""
    import dataclasses

    from consilience import recipes, tasks
    from consilience.errors import UnknownName

    recipe = recipes.get("methods")
    changes: dict[str, Any] = {
        "graph": graph, "partition": partition, "num_agents": agents, "budget": budget, "num_seeds": seeds,
        "rates": None if rates is None else _numbers(rates),
    }  # fmt: skip
    assignments = set_ or []
    # A dot leads to a part of the comparison; what has none is a setting of the comparison itself.
    dotted = [one for one in assignments if "." in one.partition("=")[0]]
    config = recipe.presets["quick" if quick else "default"]()
    if dataset is not None:
        if dataset not in tasks.DATA_SETS:
            raise UnknownName.among("data set", dataset, tasks.DATA_SETS)
        config = recipe.module.for_dataset(config, dataset)
    config = dataclasses.replace(
        config,
        methods=tuple(methods),
        settings=tuple(dotted),
        **{name: value for name, value in changes.items() if value is not None},
    )
    rest = [one for one in assignments if one not in dotted]
    carry_out(recipe, config, rest, "", output, store, data_dir, force, json, estimated=not quick)


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    from consilience.errors import InvalidSpec

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InvalidSpec(
            f"--rates {text!r}: these are numbers with commas between them. Write --rates 0.003,0.01,0.03."
        ) from None
