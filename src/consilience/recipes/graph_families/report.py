"""The study as text: tables, remarks, and plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from consilience.recipes.graph_families.analysis import PROPERTIES, Result
from consilience.recipes.graph_families.protocol import DEGREE, FAMILIES
from consilience.recipes.recipe import Table


def rows(result: Result) -> list[dict[str, Any]]:
    """One row per depth and family: properties (means over graphs), critical pull, linear theory."""
    table = []
    for depth in result.config.depths:
        for family in result.config.families:
            critical, modes = result.critical[depth, family], result.modes.sel(family=family)
            means = result.properties.sel(family=family).mean("graph")
            row = {"depth": depth, "family": family, "label": FAMILIES[family].label}
            row |= {str(name): float(value) for name, value in means.items()}
            row |= {"critical": critical.value, "critical_interval": list(critical.interval)}
            row |= {"critical_by_graph": result.by_graph.sel(depth=depth, family=family).values.tolist()}
            strongest = result.magnetization.sel(depth=depth, family=family).isel(coupling=-1)
            row |= {"magnetization_at_strongest": float(strongest.mean())}
            if depth == 1:
                row |= {"rate": float(modes.rate.mean()), "agents": float(modes.agents.median())}
            table.append(row)
    return table


def tables(result: Result) -> list[Table]:
    """Families with their properties and critical pulls, and the rank correlations."""
    found, config = [], result.config
    for depth in config.depths:
        lines = []
        for row in (row for row in rows(result) if row["depth"] == depth):
            low, high = row["critical_interval"]
            each = row["critical_by_graph"]
            line = [f"{FAMILIES[row['family']].code}  {row['label']}", f"{row['neighbours']:.3g}"]
            line += [f"{row[name]:.3g}" for name in PROPERTIES]
            line += [f"{row['critical']:.3g} ({low:.3g} – {high:.3g})", f"{min(each):.3g} – {max(each):.3g}"]
            line += [f"{row['magnetization_at_strongest']:.2f}"]
            line += [f"{row['rate']:.2f}", f"{row['agents']:.1f}"] if depth == 1 else []
            lines.append(line)
        columns = ["family", "neighbours", *PROPERTIES.values(), "critical pull", "graph by graph"]
        columns += [f"⟨m⟩ at {config.pulls[-1]:g}"]
        columns += ["λ", "agents"] if depth == 1 else []
        found.append(Table(f"theory on graphs, D = {depth}, ⟨m⟩ above {config.threshold:g}", columns, lines))
    sparse = int(result.is_sparse.sum())
    columns = ["D", "property", f"ρ, all {len(config.families)} families", f"ρ, the {sparse} of weight 1"]
    lines = [
        [
            str(depth), written, *(str(result.correlations[depth, name, group]) for group in ("all", "sparse")),
            *(f"{result.correlation_at(name, depth, level):+.2f}" for level in config.other_thresholds),
        ]
        for depth in config.depths
        for name, written in PROPERTIES.items()
    ]  # fmt: skip
    columns += [f"ρ at ⟨m⟩ = {level:g}" for level in config.other_thresholds]
    found.append(Table("rank correlation of log critical pull with each property", columns, lines))
    return found


def remarks(result: Result) -> list[str]:
    """What the columns are, and what the linear theory says."""
    config = result.config
    spread = 2 / (3 * config.num_agents) ** 0.5
    lines = [
        f"N = {config.num_agents}, mean degree {DEGREE} on every graph; {config.num_graphs} graphs of each random "
        f"family, {config.num_realizations} realizations on each; t = {config.average_after:g} to {config.span:g}. "
        f"{result.num_diverged or 'None'} diverged.",
        f"ε = {config.offset:g} is {config.offset / spread:.1f} standard deviations of the mean of m(0) about it, and "
        f"⟨m⟩ is at least {result.signed_share:.0%} of |⟨m⟩| everywhere.",
        "critical pull: σ̂⟨k⟩/N at which ⟨m⟩ rises above the threshold, 95 % bootstrap interval over realizations; then "
        "its range over graphs (for a family without chance: over as many sets of realizations).",
        "ρ: 95 % bootstrap interval over families and graphs, two-sided permutation p; few families, so wide.",
    ]
    if 1 in config.depths:
        lines.append(
            "λ, agents: growth rate of the fastest mode about m = 0 at the critical pull (mean), and how many of the "
            f"{config.num_agents} agents take part in it (median), D = 1. About m = 0 a deeper network is stable."
        )
    return lines


def as_data(result: Result) -> dict[str, Any]:
    """All numbers of the figure, as plain data."""
    depths, config = result.config.depths, result.config
    return {
        "config": dataclasses.asdict(config),
        "rows": rows(result),
        "magnetization": {
            f"D={depth}": {
                family: result.magnetization.sel(depth=depth, family=family).mean(("graph", "seed")).values.tolist()
                for family in config.families
            }
            for depth in depths
        },
        "correlations": [
            {"depth": depth, "property": name, "group": group, **dataclasses.asdict(found)}
            for (depth, name, group), found in result.correlations.items()
        ],
        "signed_share": result.signed_share,
        "num_diverged": result.num_diverged,
    }
