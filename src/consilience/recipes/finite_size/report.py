"""The analysis as tables, sentences and plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.special
import xarray as xr

from consilience.observables import (
    BinderCrossing,
    CriticalCoupling,
    Crossing,
    Estimate,
    binder_cumulant,
    susceptibility,
)
from consilience.recipes.finite_size.analysis import MEAN, SIZE, Result, closing_size
from consilience.recipes.finite_size.scaling import UNIVERSAL_CUMULANT, is_unstable, scaled_order
from consilience.recipes.recipe import Table
from consilience.theory import landau

_FAR = 1e6
"""A coupling that stands for σ̂ → ∞."""
_NUM_SAMPLES = 2000


def exponents(result: Result) -> list[tuple[str, str, float, Estimate]]:
    """Population, quantity, prediction, and what was measured, where there is a transition."""
    found = result.at_rest
    largest = found.crossing.pairs[-1]
    collapse, critical = found.collapse, result.config.critical_mean
    return [
        ("pure", "β", 0.5, result.exponent),
        ("narrow", "μ_c, Binder crossing of the largest sizes", critical, largest.at),
        ("narrow", "U at that crossing", UNIVERSAL_CUMULANT, largest.cumulant),
        ("narrow", "μ_c, collapse", critical, collapse.critical),
        ("narrow", "β/ν̄, collapse", 0.25, collapse.beta_over_nu),
        ("narrow", "1/ν̄, collapse", 0.5, collapse.one_over_nu),
        ("narrow", "−β/ν̄, ⟨|M|⟩ at μ_c", -0.25, found.order),
        ("narrow", "γ/ν̄, χ at μ_c", 0.5, found.susceptibility),
    ]


def _interval(estimate: Estimate) -> str:
    return "{:.4g} – {:.4g}".format(*estimate.interval) if np.isfinite(estimate.interval).all() else "–"


def _number(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "–"


def _located(coupling: CriticalCoupling, last: float) -> list[str]:
    """Where it is and its interval; beyond the last coupling of the grid there is only the word."""
    shown = [
        "–" if np.isnan(x) else f"{x:.3g}" if x <= last else "beyond" for x in (coupling.value, *coupling.interval)
    ]
    return [shown[0], f"{shown[1]} – {shown[2]}"]


def tables(result: Result) -> list[Table]:
    """Exponents and critical points; crossings of the Binder cumulants; onset and end of order in wide disorder."""
    first = [
        [population, name, f"{predicted:.4g}", _number(one.value), _interval(one)]
        for population, name, predicted, one in exponents(result)
    ]
    crossings = [
        row
        for population, crossing in _crossings(result).items()
        for row in _crossing_rows(population, crossing)
    ]  # fmt: skip
    wide = []
    for span, found in result.by_wide_span.items():
        for size, count in zip(result.config.wide_sizes, result.config.wide_realizations, strict=True):
            order = abs(result.wide.sel({SIZE: size, "span": span})).mean("seed")
            last = result.config.couplings[-1]
            row = [*_located(found.onsets[size], last), *_located(found.ends[size], last)]
            wide.append([f"{span:g}", str(size), str(count), *row, f"{float(order.max()):.3f}"])
    return [
        Table("where there is a transition", ["population", "quantity", "predicted", "measured", "95 %"], first),
        Table(
            "Binder cumulants of two sizes (contrast: lowest and highest U_large − U_small in standard errors)",
            ["population", "N", "crossing at", "95 %", "U there", "95 %", "resamples", "contrast", "noise"],
            crossings,
        ),
        Table(
            "wide disorder: σ̂ at which ⟨|M|⟩ rises half-way from σ̂ = 0 to its maximum, and falls back again",
            ["t", "N", "n", "onset", "95 %", "end", "95 %", "maximum"],
            wide,
        ),
    ]


def _crossings(result: Result) -> dict[str, BinderCrossing]:
    found = {"narrow, μ": result.at_rest.crossing}
    for span, one in result.by_wide_span.items():
        found |= {f"wide, t = {span:g}, onset σ̂": one.onset, f"wide, t = {span:g}, end σ̂": one.end}
    return found


def _crossing_rows(population: str, crossing: BinderCrossing) -> list[list[str]]:
    return [
        [
            population,
            "{}, {}".format(*pair.sizes),
            _number(pair.at.value),
            _interval(pair.at),
            _number(pair.cumulant.value),
            _interval(pair.cumulant),
            f"{pair.found:.0%}",
            "{:.1f} … {:.1f}".format(*pair.contrast),
            f"{pair.noise:.1f}",
        ]
        for pair in crossing.pairs
    ]


def remarks(result: Result) -> list[str]:
    """What follows from the numbers, in words."""
    return [
        *_about_pure(result),
        *_about_narrow(result),
        *_about_wide(result),
        *_about_the_end(result),
    ]


def _about_pure(result: Result) -> list[str]:
    expected = np.sqrt(result.pure[MEAN] - result.config.weight_decay)
    error = float(abs(abs(result.pure) / expected - 1).max())
    return [
        f"pure: β = {result.exponent} in μ − γ̂. |M| = √(μ − γ̂) in each of {result.pure.sizes['seed']} samples, to "
        f"{error:.0e}: no sample differs from another, and there is no finite-size effect."
    ]


def _about_narrow(result: Result) -> list[str]:
    config, narrow = result.config, result.narrow
    before, last = config.narrow_spans[-2:]
    mean, error = abs(narrow).mean("seed"), abs(narrow).std("seed", ddof=1) / np.sqrt(narrow.count("seed"))
    moved = abs(mean.sel(span=last) - mean.sel(span=before)) / error.sel(span=last)
    misfits = []
    for size in config.narrow_sizes:
        y = (narrow[MEAN].values - config.critical_mean) * np.sqrt(size) / config.narrow_std
        predicted = np.sqrt(config.narrow_std) * size**-0.25 * scaled_order(y)
        one = (mean.sel({SIZE: size, "span": last}) - predicted) / error.sel({SIZE: size, "span": last})
        misfits.append(f"{float(np.sqrt((one**2).mean())):.2f}")
    counts, sizes = (", ".join(map(str, values)) for values in (config.narrow_realizations, config.narrow_sizes))
    return [
        f"narrow: n = {counts} samples of N = {sizes}. Collapse: quality S = {result.at_rest.collapse.quality:.2f}. "
        f"From the predicted curve, in which nothing is fitted, ⟨|M|⟩ differs by {', '.join(misfits)} standard errors "
        "(root mean square). All intervals are 95 % bootstrap.",
        f"narrow, Binder crossing: {str(result.at_rest.crossing).splitlines()[-1]}.",
        f"narrow: until t = {before:g} instead of {last:g}, no ⟨|M|⟩ differs by more than {float(moved.max()):.2f} "
        "standard errors.",
    ]


def _about_wide(result: Result) -> list[str]:
    found = [
        f"wide, t = {span:g}, {side}: {'; '.join(map(_verdict, crossing.pairs))}{_drift(crossing)}."
        for span, one in result.by_wide_span.items()
        for side, crossing in (("onset", one.onset), ("end", one.end))
    ]
    growth = result.growth
    at = float(growth.coupling[growth.values.argmax()])
    return [
        *found,
        f"wide, N → ∞: by t = {result.config.wide_spans[0]:g} a small bias has grown {float(growth.max()):.3g}-fold at "
        f"most, at σ̂ = {at:.3g}, and so have fluctuations of order 1/√N: from N ≈ {closing_size(result):.1g} on, none "
        "is left of the order (an estimate).",
    ]


def _verdict(pair: Crossing) -> str:
    """What a pair of sizes shows, in words."""
    sizes = "N = {}, {}".format(*pair.sizes)
    if np.isfinite(pair.at.value):
        return f"{sizes} cross"
    is_lower, is_higher = -pair.contrast[0] > pair.noise, pair.contrast[1] > pair.noise
    words = {(True, False): "the larger has the lower U", (False, True): "the larger has the higher U"}
    return f"{sizes} do not cross, {words.get((is_lower, is_higher), 'and neither is significantly higher')}"


def _drift(crossing: BinderCrossing) -> str:
    return f"; crossings move by {crossing.drift} per unit of log N" if np.isfinite(crossing.drift.value) else ""


def ordering_share(result: Result, coupling: float) -> tuple[float, float]:
    """In which share of samples of wide disorder m = 0 is unstable: counted, and to first order Φ((s²/σ̂ − γ̂)√N/s).

    Samples are of the largest N of wide disorder.
    """
    config, size = result.config, result.config.wide_sizes[-1]
    delta = landau.gaussian_disorder(_NUM_SAMPLES, size, std=config.wide_std, seed=config.seed)
    counted = is_unstable(delta, coupling=coupling, weight_decay=config.weight_decay).mean()
    y = (config.wide_std**2 / coupling - config.weight_decay) * np.sqrt(size) / config.wide_std
    return float(counted), float(scipy.special.ndtr(y))


def _about_the_end(result: Result) -> list[str]:
    config = result.config
    last, size = config.couplings[-1], config.wide_sizes[-1]
    shares = [ordering_share(result, coupling) for coupling in (last, _FAR)]
    end = config.wide_std**2 / config.weight_decay if config.weight_decay > 0 else np.inf
    return [
        f"end for t → ∞, by the stability of m = 0 in {_NUM_SAMPLES} samples of N = {size}: order lasts in "
        f"{shares[0][0]:.0%} at σ̂ = {last:g} (first order: {shares[0][1]:.0%}) and in {shares[1][0]:.0%} however "
        f"strong the coupling ({shares[1][1]:.0%}); for N → ∞ it ends at σ̂ = s²/γ̂ = {end:.3g}."
    ]


def as_data(result: Result) -> dict[str, Any]:
    """All numbers of the figure, as plain data."""
    return {
        "config": dataclasses.asdict(result.config),
        "exponents": [
            {"population": population, "quantity": name, "predicted": predicted, **dataclasses.asdict(one)}
            for population, name, predicted, one in exponents(result)
        ],
        "collapse_quality": result.at_rest.collapse.quality,
        "crossings": {name: dataclasses.asdict(one) for name, one in _crossings(result).items()},
        "pure": _curves(result.pure.expand_dims({SIZE: [result.config.pure_agents], "span": [np.inf]}), MEAN),
        "narrow": _curves(result.narrow, MEAN),
        "wide": _curves(result.wide, "coupling"),
        "growth": result.growth.values.tolist(),
        "closing_size": closing_size(result),
        "critical_couplings": [
            {"span": span, "num_agents": size, "side": side, **dataclasses.asdict(one)}
            for span, found in result.by_wide_span.items()
            for side, members in (("onset", found.onsets), ("end", found.ends))
            for size, one in members.items()
        ],
    }


def _curves(m: xr.DataArray, control: str) -> list[dict[str, Any]]:
    """Order, cumulant and susceptibility against the control: one row per size and span."""
    found = []
    for size in m[SIZE].values.tolist():
        for span in m.span.values.tolist():
            one = m.sel({SIZE: size, "span": span})
            found.append(
                {
                    "num_agents": size,
                    "span": span,
                    control: m[control].values.tolist(),
                    "abs_magnetization": abs(one).mean("seed").values.tolist(),
                    "binder_cumulant": binder_cumulant(one).values.tolist(),
                    "susceptibility": susceptibility(one, num_agents=size).values.tolist(),
                }
            )
    return found
