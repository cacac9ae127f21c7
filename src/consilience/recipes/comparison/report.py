"""The comparison as tables and plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from consilience.experiments import ordering_agreement
from consilience.recipes.comparison.protocol import KINDS, Result
from consilience.recipes.recipe import Table


def orderings(result: Result) -> list[dict[str, Any]]:
    """Kendall's τ between predicted and measured critical couplings: over depths, data sets, and both.

    Returns:
        One row per kind of prediction and way of comparing.
    """
    config = result.config
    measured = np.array([[result.measured(d, depth).value for depth in config.depths] for d in config.datasets])
    found = []
    for kind in KINDS:
        predicted = np.array([[result.predicted(d, k, kind) for k in config.depths] for d in config.datasets])
        tau, p, n = ordering_agreement(predicted.ravel(), measured.ravel())
        found.append({"kind": kind, "over": "all", "tau": tau, "p_value": p, "n": n})
        for row, dataset in enumerate(config.datasets):
            tau, p, n = ordering_agreement(predicted[row], measured[row])
            found.append({"kind": kind, "over": f"depths, {dataset}", "tau": tau, "p_value": p, "n": n})
        for column, depth in enumerate(config.depths):
            tau, p, n = ordering_agreement(predicted[:, column], measured[:, column])
            found.append({"kind": kind, "over": f"data sets, D = {depth}", "tau": tau, "p_value": p, "n": n})
    return found


def rows(result: Result) -> list[dict[str, Any]]:
    """One row per data set and depth: critical couplings and the order of learning, predicted and measured."""
    table = []
    for dataset in result.config.datasets:
        for depth in result.config.depths:
            measured, order = result.measured(dataset, depth), result.order[dataset][depth]
            prediction = result.predictions[dataset]
            variants = result.order_over_definitions[dataset][depth]
            table.append(
                {
                    "dataset": dataset,
                    "depth": depth,
                    "measured_onset": measured.value,
                    "measured_interval": list(measured.interval),
                    **{f"predicted_onset_{kind.lower()}": result.predicted(dataset, depth, kind) for kind in KINDS},
                    "gain_alone": prediction.share_alone(depth, "gain"),
                    "learning_order": dataclasses.asdict(order),
                    "learning_order_over_definitions": dict(
                        zip(variants.definition.values.tolist(), variants.values.tolist(), strict=True)
                    ),
                }
            )
    return table


def tables(result: Result) -> list[Table]:
    """Critical couplings; the order of learning; agreement of orderings."""

    def number(value: float) -> str:
        return "none" if np.isnan(value) else f"{value:.3g}"

    found = rows(result)
    critical = [
        [
            row["dataset"],
            str(row["depth"]),
            number(row["measured_onset"]),
            "{:.3g} – {:.3g}".format(*row["measured_interval"]),
            *(number(row[f"predicted_onset_{kind.lower()}"]) for kind in KINDS),
            f"{row['gain_alone']:.0%}",
        ]
        for row in found
    ]
    order = []
    for row in found:
        one = row["learning_order"]
        by_projection = {
            projection: [v for name, v in row["learning_order_over_definitions"].items() if name.endswith(projection)]
            for projection in ("own", "all", "top")
        }
        order.append(
            [
                row["dataset"],
                str(row["depth"]),
                f"{one['value']:.2f}",
                "{:.2f} – {:.2f}".format(*one["interval"]),
                f"{one['p_value']:.1g}",
                f"{one['reproducibility']:.2f}",
                *(f"{min(values):.2f} – {max(values):.2f}" for values in by_projection.values()),
            ]
        )
    agreement = [
        [row["kind"], row["over"], f"{row['tau']:.2f}", f"{row['p_value']:.2g}", str(row["n"])]
        for row in orderings(result)
        if np.isfinite(row["tau"])
    ]
    n = result.config.num_realizations
    printed = [
        Table(
            f"critical coupling σ_c, half-way from σ = 0 to the best (measured: n = {n}, 95 % bootstrap)",
            ["data", "D", "measured", "95 %", "theory: order", "theory: gain", "theory: Gaussian", "gain alone"],
            critical,
        ),
        Table(
            "order of learning: ρ of δ with the measured order",
            ["data", "D", "ρ", "95 %", "p", "seeds", "own (6)", "all (6)", "top (6)"],
            order,
        ),
    ]
    if agreement:
        title = "Kendall's τ of predicted and measured critical couplings, where three predictions or more differ"
        printed.append(Table(title, ["theory", "over", "τ", "p", "n"], agreement))
    return printed


def remarks(result: Result) -> list[str]:
    """What the columns mean, and a verdict in words that follow from the numbers."""
    values = [one.value for members in result.order.values() for one in members.values()]
    own = [row["gain_alone"] for row in rows(result)]
    return [
        "theory: order and gain are solved for the δ_i measured on the shards (definition "
        f"{next(iter(result.predictions.values())).definition}), Gaussian is figure 2's disorder of mean 0. 'none': no "
        "transition, for agents alone have most of the largest value already ('gain alone').",
        f"order of learning: mean ρ = {np.mean(values):.2f} over {len(values)} pairs of data set and depth, smallest "
        f"{min(values):.2f}. seeds: mean ρ between two realizations of the measurement. own, all, top: range over "
        "centring and ridge for each projection.",
        f"isolated agents of the theory have between {min(own):.0%} and {max(own):.0%} of their largest gain; those of "
        "the experiment know their own class only.",
    ]


def as_data(result: Result) -> dict[str, Any]:
    """All numbers, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "rows": rows(result),
        "orderings": orderings(result),
        "disorder": {
            dataset: {name: one.disorder[name].values.tolist() for name in one.disorder.data_vars}
            for dataset, one in result.predictions.items()
        },
    }
