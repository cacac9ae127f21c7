"""`consilience predict`: what theory says before anything runs."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilience.cli.application import app
from consilience.cli.console import messages, print_json, print_table, results
from consilience.cli.options import DataDir, Json

if TYPE_CHECKING:
    from consilience.experiments import TransitionPrediction
    from consilience.graphs import Graph

predict = typer.Typer(help="What theory says before anything runs.", no_args_is_help=True)
app.add_typer(predict, name="predict")

_NAMES = {"order": "order |⟨m⟩|", "gain": "gain on others' data"}


@predict.command()
def transition(
    dataset: Annotated[str, typer.Option("--dataset", help="digits, mnist, fashion_mnist or cifar10.")] = "digits",
    depth: Annotated[
        list[int] | None, typer.Option("--depth", help="Hidden layers; may be repeated. 0, 1 and 2 by default.")
    ] = None,
    more_depths: Annotated[list[int] | None, typer.Argument(help="Further depths.", show_default=False)] = None,
    agents: Annotated[int, typer.Option("--agents", help="Agents, with the classes dealt out among them.")] = 10,
    partition: Annotated[str, typer.Option("--partition", help="`consilience list partitions`.")] = "by_class",
    graph: Annotated[
        str,
        typer.Option(
            "--graph",
            help="A family, `consilience list graphs`, or a CSV file of edges, with --set graph.directed=false, say.",
        ),
    ] = "complete",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="partition.alpha=0.5, graph.degree=4, or an argument of cs.experiments.predict_transition.",
            metavar="PATH=VALUE",
        ),
    ] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Where learning becomes collective, by the effective theory solved for the data of the agents."""
    from consilience.experiments import predict_transition
    from consilience.experiments.prediction import LEARNING_RATE
    from consilience.experiments.spec import build_task_and_graph

    start = time.monotonic()
    depths: list[int] = list(dict.fromkeys([*(depth or []), *(more_depths or [])])) or [0, 1, 2]
    tables, options = _sorted_assignments(set_ or [])
    options.setdefault("learning_rate", LEARNING_RATE)
    task, shards, graph_ = build_task_and_graph(
        {
            "task": {"name": dataset, **tables["task"]},
            "partition": {"name": partition, "num_agents": agents, **tables["partition"]},
            "graph": {("file" if graph.endswith(".csv") else "family"): graph, **tables["graph"]},
        },
        data_dir=data_dir,
    )
    messages.print(f"measuring the disorder of {shards.num_agents} shards of {task.name}, and solving the theory ...")
    prediction = predict_transition(task, shards, depths=depths, graph=graph_, **options)
    if json:
        print_json({**as_data(prediction), "wall_seconds": time.monotonic() - start})
        return
    _print(prediction, graph_, options["learning_rate"])
    results.print(f"this command took {time.monotonic() - start:.0f} s")


def _sorted_assignments(assignments: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """`--set`: arguments of task, partition and graph, and those of `predict_transition`."""
    import inspect

    from consilience.errors import UnknownName
    from consilience.experiments import predict_transition
    from consilience.experiments.spec import parse_assignment

    tables: dict[str, dict[str, Any]] = {"task": {}, "partition": {}, "graph": {}}
    options: dict[str, Any] = {}
    elsewhere = (*tables, "shards", "depths", "definitions")  # options of the command, or nothing that text can say
    known = [name for name in inspect.signature(predict_transition).parameters if name not in elsewhere]
    for path, value in map(parse_assignment, assignments):
        table, dot, name = path.rpartition(".")
        if dot and table not in tables:
            raise UnknownName.among("table of a prediction", table, tables)
        if not dot and name not in known:
            raise UnknownName.among("argument of a prediction", name, known)
        (tables[table] if dot else options)[name] = value
    return tables, options


def _number(value: float) -> str:
    return "–" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.3g}"


def as_data(prediction: TransitionPrediction) -> dict[str, Any]:
    """The prediction as plain data: onsets and ends with their uncertainties, and the order of the classes."""
    rows = []
    for depth in prediction.curves.depth.values.tolist():
        for quantity in _NAMES:
            onset, end = prediction.onset(depth, quantity), prediction.end(depth, quantity)
            variants = prediction.onsets_over_definitions(depth, quantity)
            has_transition = prediction.has_transition(depth, quantity)
            rows.append(
                {
                    "depth": depth,
                    "quantity": quantity,
                    "share_alone": prediction.share_alone(depth, quantity),
                    "has_transition": has_transition,
                    "onset": onset.value if has_transition else math.nan,
                    "onset_grid": list(onset.bracket) if has_transition else [math.nan, math.nan],
                    "onset_interval": list(onset.interval) if has_transition else [math.nan, math.nan],
                    "sampling_error_of_log_onset": prediction.sampling_error(depth, quantity),
                    "onset_of_definitions": dict(
                        zip(variants.definition.values.tolist(), variants.values.tolist(), strict=True)
                    ),
                    "end": end.value if has_transition else math.nan,
                }
            )
    order = prediction.class_order()
    return {
        "definition": prediction.definition,
        "graph": prediction.graph_name,
        "transitions": rows,
        "learning_order": [
            {"agent": int(order.agent[k]), **{name: float(order[name][k]) for name in order.data_vars}}
            for k in range(order.sizes["agent"])
        ],
        "couplings": prediction.curves.coupling.values.tolist(),
    }


def _cells(row: dict[str, Any], couplings: list[float]) -> list[str]:
    """A transition as it is printed. Between the first two couplings nothing is resolved, and nothing is claimed."""
    variants = [value for value in row["onset_of_definitions"].values() if math.isfinite(value)]
    shown = [str(row["depth"]), _NAMES[row["quantity"]], _share(row["share_alone"])]
    spread = f"{_number(min(variants))} – {_number(max(variants))} ({len(variants)})" if variants else "none (0)"
    if not row["has_transition"]:
        return [*shown, "no transition", "–", "–", spread, "–"]
    end = f"> {couplings[-1]:.3g}" if math.isinf(row["end"]) else _number(row["end"])
    if row["onset_grid"][0] == couplings[0]:
        return [*shown, f"< {couplings[1]:.3g}", "–", "–", spread, end]
    error = math.exp(row["sampling_error_of_log_onset"])
    return [
        *shown,
        _number(row["onset"]),
        "{} – {}".format(*map(_number, row["onset_interval"])),
        f"×/÷ {error:.2f}" if math.isfinite(error) else "–",
        spread,
        end,
    ]


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


def _print(prediction: TransitionPrediction, graph: Graph, learning_rate: float) -> None:
    from consilience.experiments.prediction import LEAST_RISE

    found = as_data(prediction)
    lines = [_cells(row, found["couplings"]) for row in found["transitions"]]
    task = prediction.disorder.attrs["task"]
    print_table(
        f"\n{task} on {prediction.graph_name}: the collective phase, in the σ of Eq. (2)",
        ["D", "quantity", "alone", "begins", "starts (95 %)", "samples", "definitions", "ends"],
        lines,
    )
    classes = [
        [
            str(rank),
            str(one["agent"]),
            f"{one['delta']:.3f} ± {one['delta_error']:.3f}",
            f"{one['second_moment']:.2f}",
            f"{one['earliest']:g} – {one['latest']:g}",
        ]
        for rank, one in enumerate(found["learning_order"], start=1)
    ]
    print_table(
        "\nthe order in which the agents' data are learned by the others",
        ["rank", "agent", "δ", "s", "ranks of all definitions"],
        classes,
    )
    deviation = float(prediction.disorder.delta.std() / abs(prediction.disorder.delta).mean())
    results.print(
        f"\nalone: how much of its largest value a quantity has at σ = {found['couplings'][0]:g}; above "
        f"{1 - LEAST_RISE:.0%} the theory sees no transition. begins: half-way from there to the largest value.\n"
        "starts: 95 % over initial conditions. samples: standard error from the finite shards. definitions: range over "
        f"{prediction.variants.sizes['definition']} definitions of δ (centring × ridge × projection), and how many of "
        "them have a transition.\n"
        f"definition {prediction.definition}: spread of δ over its mean {deviation:.2f}. The parameters diverge beyond "
        f"σ = {_number(graph.coupling_limit(learning_rate))} (learning rate {learning_rate:g}).\n"
        "How far such predictions hold is measured by `consilience compare`."
    )
