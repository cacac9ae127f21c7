"""`consilience predict rounds`: how long agents that average over a graph will train, before they do."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilience.cli.console import messages, print_json, results
from consilience.cli.options import DataDir, Json
from consilience.cli.predict import predict

if TYPE_CHECKING:
    from consilience.experiments.deployment import Deployment

OF = {"test": "test_loss", "train": "train_loss", "objective": "objective"}
_BYTES_PER_SECOND = 8e9
"""At which a computer of today reads a kernel."""
_TABLES = ("task", "partition", "graph", "model")


@predict.command()
def rounds(
    graph: Annotated[
        str,
        typer.Option(
            "--graph",
            help="A family, `consilience list graphs`, or a CSV file of edges, with --set graph.directed=false, say.",
        ),
    ] = "cycle",
    agents: Annotated[int, typer.Option("--agents", help="Agents.")] = 10,
    algorithm: Annotated[
        str,
        typer.Option("--algorithm", help="dgd, atc (adapt, then combine) or cta (combine, then adapt)."),
    ] = "dgd",
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="η; half of the largest stable one by default.", show_default=False),
    ] = None,
    target_loss: Annotated[
        float | None,
        typer.Option("--target-loss", help="To be reached; half of the initial loss by default.", show_default=False),
    ] = None,
    of: Annotated[
        str, typer.Option("--of", help="Whose loss: test, train (own data) or objective (everybody's data).")
    ] = "test",
    width: Annotated[str, typer.Option("--width", help="Neurons per hidden layer, or infinite.")] = "1024",
    depth: Annotated[int, typer.Option("--depth", help="Hidden layers.")] = 1,
    dataset: Annotated[str, typer.Option("--dataset", help="digits, mnist, fashion_mnist or cifar10.")] = "digits",
    partition: Annotated[str, typer.Option("--partition", help="`consilience list partitions`.")] = "by_class",
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", help="Of each agent at most; by default 500 in all, 100 with one-hot.", show_default=False
        ),
    ] = None,
    targets: Annotated[
        str, typer.Option("--targets", help="odd-even (one output) or one-hot (an output per class).")
    ] = "odd-even",
    coupling: Annotated[
        float | None,
        typer.Option("--coupling", help="σ: mix by Eq. (2), not by Metropolis weights.", show_default=False),
    ] = None,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="γ of γ‖θ‖².")] = 0.0,
    max_rounds: Annotated[int, typer.Option("--max-rounds", help="After which agents are given up.")] = 10_000,
    sweep: Annotated[bool, typer.Option("--sweep", help="Compare graphs and learning rates, and recommend.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="partition.alpha=0.5, graph.degree=4, task.num_test=200, model.bias_variance=0, say.",
            metavar="PATH=VALUE",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of initial parameters and samples.")] = 0,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Rounds to a target loss, stability, slow modes; with --sweep also which graph and learning rate to take."""
    from consilience.cli.rounds_data import as_data
    from consilience.cli.rounds_report import print_report
    from consilience.errors import UnknownName
    from consilience.experiments.candidates import compare_candidates
    from consilience.experiments.deployment import deploy
    from consilience.experiments.rounds_prediction import check_request, predict_rounds

    start = time.monotonic()
    if of not in OF:
        raise UnknownName.among("loss with a target", of, OF)
    check_request(learning_rate, target_loss, OF[of], max_rounds)
    tables = _tables(set_ or [])
    messages.print(f"linearising a network of width {width} on the data of {agents} agents ...")
    deployment = deploy(
        {
            "task": {"name": dataset, **tables["task"]},
            "partition": {"name": partition, "num_agents": agents, **tables["partition"]},
            "graph": {("file" if graph.endswith(".csv") else "family"): graph, **tables["graph"]},
            "model": tables["model"],
        },
        targets=targets,
        num_samples=samples,
        depth=depth,
        width=_width(width),
        algorithm=algorithm,
        coupling=coupling,
        weight_decay=weight_decay,
        seed=seed,
        data_dir=data_dir,
    )
    messages.print(f"rounds of {deployment.algorithm} on {deployment.graph.name}: {_size(deployment)} ...")
    prediction = predict_rounds(
        deployment, learning_rate=learning_rate, target=target_loss, quantity=OF[of], max_rounds=max_rounds
    )
    candidates = None
    if sweep:
        messages.print("comparing graphs and learning rates ...")
        candidates = compare_candidates(
            deployment,
            learning_rate=prediction.learning_rate,
            target=prediction.target,
            quantity=OF[of],
            max_rounds=max_rounds,
        )
    asked = {"learning_rate": learning_rate is not None, "target": target_loss is not None}
    seconds = time.monotonic() - start
    if json:
        print_json({**as_data(deployment, prediction, candidates), "wall_seconds": seconds})
        return
    print_report(deployment, prediction, candidates, asked)
    results.print(f"this command took {seconds:.0f} s")


def _tables(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """`--set`, by tables."""
    from consilience.errors import InvalidSpec, UnknownName
    from consilience.experiments.spec import parse_assignment

    tables: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    for path, value in map(parse_assignment, assignments):
        table, dot, name = path.rpartition(".")
        if not dot:
            raise InvalidSpec(
                f"--set {path}: this names no table. Write graph.{path}={value}, say; the tables are "
                f"{', '.join(_TABLES)}."
            )
        if table not in tables:
            raise UnknownName.among("table of a prediction", table, tables)
        tables[table][name] = value
    return tables


def _width(text: str) -> int | None:
    """None for infinite."""
    from consilience.errors import InvalidSpec

    if text.lower() in ("infinite", "inf", "∞"):
        return None
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise InvalidSpec(
        f"--width {text}: this counts neurons of a hidden layer, from 1. Write --width 1024, say, or --width infinite."
    )


def _size(deployment: Deployment) -> str:
    lin = deployment.linearization
    size = lin.gram.nbytes
    pace = f", {1000 * size / _BYTES_PER_SECOND:.0f} s per 1,000 rounds or so" if size > 2e7 else ""
    return f"a kernel of {lin.num_rows} × {lin.gram.shape[1]} ({math.ceil(size / 1e6)} MB{pace})"
