"""The study as text: tables, remarks, and plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from consilience.axes import ROUND
from consilience.observables import CriticalCoupling
from consilience.recipes.recipe import Table
from consilience.recipes.wide_transition.analysis import DRAW, Result
from consilience.recipes.wide_transition.protocol import STARTS


def _about(critical: CriticalCoupling) -> str:
    if not np.isfinite(critical.value):
        return "–"
    low, high = critical.interval
    return f"{critical.value:.3g}" + ("" if np.isnan(low) else f" ({low:.3g} – {high:.3g})")


def rows(result: Result) -> list[dict[str, Any]]:
    """One row per setting: critical couplings, the accuracies at the strongest coupling, and how far they are apart."""
    found = []
    for name in result.trained:
        row: dict[str, Any] = {"setting": name}
        for kind, source in (("trained", result.trained), ("predicted", result.predicted)):
            critical = result.critical(source, name)
            row |= {f"critical_{kind}": critical.value, f"critical_{kind}_interval": list(critical.interval)}
            last = source[name].isel({ROUND: -1})
            for quantity in ("unseen", "own", "loss"):
                row[f"{quantity}_{kind}"] = last[quantity].mean("seed").values.tolist()
                row[f"{quantity}_{kind}_std"] = last[quantity].std("seed").values.tolist()
        error = result.errors(name)
        row |= {
            "error": float(np.sqrt((error**2).mean())),
            "bias": float(error.mean()),
            "largest": float(abs(error).max()),
        }
        row["coupling"] = result.trained[name].coupling.values.tolist()
        found.append(row)
    return found


def tables(result: Result) -> list[Table]:
    """Critical couplings predicted and trained; and the law."""
    config = result.config
    first = [
        [
            row["setting"], _about(result.critical(result.predicted, row["setting"])),
            _about(result.critical(result.trained, row["setting"])), f"{row['unseen_predicted'][-1]:.3f}",
            f"{row['unseen_trained'][-1]:.3f}", f"{row['error']:.3f}", f"{row['bias']:+.3f}", f"{row['largest']:.3f}",
        ]
        for row in rows(result)
    ]  # fmt: skip
    columns = ["setting", "σ_c predicted", "σ_c trained", "unseen predicted", "trained", "r.m.s.", "bias", "largest"]
    second = []
    for start in STARTS:
        for depth in config.depths:
            times = np.log2(config.num_rounds) + np.array([-2, 0, 2, 4])
            shown = result.law_critical(start, depth).median(DRAW)
            values = [float(shown.sel({ROUND: 2.0**time}, method="nearest")) for time in times]
            first_round = _first_round(result, start, depth)
            weak = _number(float(result.exchanges(depth).median())) if start == "common" else ""
            second.append([start, str(depth), *(_number(value) for value in values), _number(first_round), weak])
    rounds = [f"T = {config.num_rounds * 2**power:,.0f}" for power in (-2, 0, 2, 4)]
    third = [
        [str(depth), f"{float(gamma):.2g}", _number(float(value)), _number(float(value) / (2 * float(gamma)))]
        for depth in config.depths
        for gamma, value in zip(config.weight_decays, result.resting_critical(depth).values, strict=True)
    ]
    return [
        Table(f"accuracy on unseen classes, {config.threshold:.0%} after the last round", columns, first),
        Table("the law at infinite width: σ_c", ["start", "D", *rounds, "first T", "c"], second),
        Table("at rest with weight decay: σ_c", ["D", "γ", "σ_c", "σ_c / 2γ"], third),
    ]


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"


def _first_round(result: Result, start: str, depth: int) -> float:
    """The first T of the law at which unseen classes are known at the strongest coupling (median over draws)."""
    strongest = result.law[start, depth].unseen.isel(coupling=-1).median(DRAW)
    above = strongest[ROUND].values[strongest.values > result.config.threshold]
    return float(above[0]) if above.size else np.inf


def remarks(result: Result) -> list[str]:
    """What the columns are, and what follows."""
    config = result.config
    lines = [
        "unseen: accuracy on the nine classes that an agent has no data of, mean over agents; trained: "
        f"{config.num_seeds} seed(s), 95 % bootstrap intervals; predicted: the same seeds.",
        "r.m.s., bias, largest: of predicted − trained accuracy over all couplings, records and seeds, without the "
        f"{result.num_unstable} cases (a coupling and a seed) in which the linearised network is unstable.",
        f"first T: from when on {config.threshold:.0%} is reached at σ = {config.law_couplings[-1]:g}; c: σ_c = c/(ηT) "
        "for σ → 0; –: never. Medians over the initial functions.",
    ]
    for depth in config.depths:
        law = result.law_critical("common", depth).median(DRAW).dropna(ROUND)
        if law.size > 8:
            slope = np.polyfit(np.log(law[ROUND].values[-7:]), np.log(law.values[-7:]), 1)[0]
            lines.append(f"D = {depth}: σ_c falls as T^{slope:.2f} around T = {float(law[ROUND].values[-4]):,.0f}.")
    slope, error = result.slope()
    return [*lines, f"errors at D = 1 fall as width^({slope:.2f} ± {error:.2f}), standard error over seeds."]


def as_data(result: Result) -> dict[str, Any]:
    """All numbers of the figure, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "rows": rows(result),
        "critical_by_round": {
            kind: {
                name: {str(round): one.value for round, one in result.critical_by_round(source, name).items()}
                for name in source
            }
            for kind, source in (("trained", result.trained), ("predicted", result.predicted))
        },
        "law": {
            f"{start},D={depth}": {
                "critical": result.law_critical(start, depth).median(DRAW).values.tolist(),
                "rounds": result.law[start, depth][ROUND].values.tolist(),
            }
            for start, depth in result.law
        },
        "exchanges": {f"D={depth}": result.exchanges(depth).values.tolist() for depth in result.config.depths},
        "rest": {f"D={depth}": result.resting_critical(depth).values.tolist() for depth in result.config.depths},
        "errors_by_width": {str(width): one.values.tolist() for width, one in result.errors_by_width().items()},
    }
