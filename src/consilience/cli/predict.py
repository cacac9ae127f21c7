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
        str, typer.Option("--graph", help="A family, `consilience list graphs`, or a CSV file of edges.")
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
    from consilience.experiments.spec import build_task_and_graph, parse_assignment

    start = time.monotonic()
    depths = list(dict.fromkeys([*(depth or []), *(more_depths or [])])) or [0, 1, 2]
    changes: dict[str, dict[str, Any]] = {"partition": {}, "graph": {}, "": {}}
    for path, value in map(parse_assignment, set_ or []):
        table, _, name = path.rpartition(".")
        changes.setdefault(table, {})[name] = value
    options = changes.pop("")
    task, shards, graph_ = build_task_and_graph(
        {
            "task": {"name": dataset},
            "partition": {"name": partition, "num_agents": agents, **changes.pop("partition")},
            "graph": {("file" if graph.endswith(".csv") else "family"): graph, **changes.pop("graph")},
            **changes,
        },
        data_dir=data_dir,
    )
    messages.print(f"measuring the disorder of {shards.num_agents} shards of {task.name}, and solving the theory ...")
    prediction = _predict(predict_transition, task, shards, depths=depths, graph=graph_, **options)
    if json:
        print_json({**as_data(prediction), "wall_seconds": time.monotonic() - start})
        return
    _print(prediction, graph_)
    results.print(f"this command took {time.monotonic() - start:.0f} s")


def _predict(function: Any, *positional: Any, **options: Any) -> TransitionPrediction:
    import inspect

    from consilience.errors import UnknownName

    known = [name for name in inspect.signature(function).parameters if name not in ("task", "shards", "graph")]
    for name in options:
        if name not in (*known, "graph"):
            raise UnknownName.among("argument of predict_transition", name, known)
    return function(*positional, **options)


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


def _print(prediction: TransitionPrediction, graph: Graph) -> None:
    from consilience.experiments.prediction import LEAST_RISE

    found = as_data(prediction)
    lines = []
    for row in found["transitions"]:
        variants = [value for value in row["onset_of_definitions"].values() if math.isfinite(value)]
        low, high = row["onset_interval"]
        error = math.exp(row["sampling_error_of_log_onset"])
        lines.append(
            [
                str(row["depth"]),
                _NAMES[row["quantity"]],
                f"{row['share_alone']:.0%}",
                _number(row["onset"]) if row["has_transition"] else "no transition",
                f"{_number(low)} – {_number(high)}" if row["has_transition"] else "–",
                f"×/÷ {error:.2f}" if math.isfinite(error) else "–",
                f"{_number(min(variants))} – {_number(max(variants))} ({len(variants)})" if variants else "none (0)",
                _number(row["end"]),
            ]
        )
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
        f"σ = {graph.coupling_limit(0.005):.3g} (learning rate 0.005).\n"
        "How far such predictions hold is measured by `consilience compare`."
    )
