"""What `consilience predict rounds` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.cli.console import print_table, results

if TYPE_CHECKING:
    import xarray as xr

    from consilience.experiments.deployment import Deployment
    from consilience.experiments.rounds_prediction import RoundsPrediction

_LOSSES = {"test_loss": "test loss", "train_loss": "train loss (own data)", "objective": "loss on everybody's data"}
_SHOWN_MODES = 5


def print_report(
    deployment: Deployment, prediction: RoundsPrediction, candidates: xr.Dataset | None, asked: dict[str, bool]
) -> None:
    """All of it, in words and tables."""
    _print_setting(deployment, prediction, asked)
    _print_agents(deployment, prediction)
    _print_stability(prediction)
    if prediction.modes is not None:
        _print_modes(prediction.modes)
    if candidates is not None:
        _print_candidates(deployment, candidates)
    results.print(
        "\nExact for a network that is linear in its parameters, trained on full batches from a common start. One of "
        "finite width departs\nfrom it, about as 1/width; mini-batches add noise on top."
    )


def _print_setting(deployment: Deployment, prediction: RoundsPrediction, asked: dict[str, bool]) -> None:
    d, lin = deployment, deployment.linearization
    low, high = lin.sizes.min(), lin.sizes.max()
    each = f"{low}" if low == high else f"{low} to {high}"
    parameters = "" if d.num_parameters is None else f", {d.num_parameters:,} parameters, seed {d.seed}"
    rate, goal = prediction.learning_rate, prediction.target
    rate_reason = "" if asked["learning_rate"] else " (half of the largest stable one)"
    goal_reason = "" if asked["target"] else " (half of what it is at the start)"
    decay = f", γ = {d.weight_decay:g}" if d.weight_decay else ""
    results.print(
        f"\n{d.task.name}: {len(d.shards)} agents with {each} samples each ({d.shards.name}), {d.task.num_test} test "
        f"samples\n{getattr(d.model, 'name', d.model)}{parameters}\n"
        f"{d.algorithm} with W = {prediction.mixing.name}, η = {rate:.4g}{rate_reason}{decay}\n"
        f"target: {_LOSSES[prediction.quantity]} ≤ {goal:.4g}{goal_reason}"
    )


def _print_agents(deployment: Deployment, prediction: RoundsPrediction) -> None:
    found = prediction.agents
    rows = [
        [
            str(agent),
            _classes(deployment.classes[agent]),
            str(deployment.linearization.sizes[agent]),
            f"{found.initial_loss.values[agent]:.3g}",
            _rounds(found, agent, ""),
            _loss(found.limit.values[agent]),
            _rounds(found, agent, "_alone"),
            _loss(found.limit_alone.values[agent]),
        ]
        for agent in range(len(deployment.shards))
    ]
    headings = ["agent", "classes", "samples", "start", "rounds", "tends to", "alone: rounds", "tends to"]
    print_table("\nrounds to the target, together and alone (W = I)", headings, rows)
    results.print(_summary(prediction))


def _summary(prediction: RoundsPrediction) -> str:
    found, slowest = prediction.agents, prediction.slowest
    together, alone = found.rounds.values, found.rounds_alone.values
    num_agents, num_together, num_alone = len(together), np.isfinite(together).sum(), np.isfinite(alone).sum()
    if num_together == num_agents and together.max() == 0:
        return "Every agent is at the target before the first round. Ask for a lower one."
    if num_together == num_agents:
        fastest = int(np.argmin(together))
        first = f"The slowest is agent {slowest}, after {together[slowest]:,.0f} rounds; the fastest, agent {fastest}, "
        first += f"takes {together[fastest]:,.0f}."
    elif found.attrs["outcome"] == "diverged":
        first = "Rounds diverge."
    else:
        first = (
            f"{num_agents - num_together} of {num_agents} agents do not arrive, agent {slowest} with the highest loss."
        )
        if found.limit.min() > prediction.target:
            first += f" Losses end at {_loss(found.limit.values.min())} or more: rounds do not help, more data may."
    within = f"within {found.attrs['rounds_computed_alone']:,} rounds"
    if found.attrs["outcome_alone"] == "diverged":
        second = "Alone they diverge, too." if found.attrs["outcome"] == "diverged" else "Alone they diverge."
    elif num_alone == 0:
        second = f"Alone nobody arrives {within}."
    elif num_alone < num_agents:
        second = f"Alone {num_alone} of {num_agents} arrive {within}."
    else:
        second = f"Alone everybody arrives, too, the last after {alone.max():,.0f} rounds."
    second += _ideal(prediction)
    again = np.flatnonzero(found.rises_again.values | found.rises_again_alone.values)
    third = "" if not len(again) else " *: the loss rises above the target again."
    return f"{first} {second}{third}"


def _ideal(prediction: RoundsPrediction) -> str:
    ideal, slowest = prediction.rounds_of_full_averaging, float(prediction.agents.rounds.max(skipna=False))
    if math.isnan(ideal):
        return ""
    factor = "" if math.isnan(slowest) or ideal == 0 else f": the graph costs a factor of {slowest / ideal:.2g}"
    return f" If all averaged with everybody (W = 11ᵀ/N), the last would arrive after {ideal:,.0f}{factor}."


def _rounds(found: xr.Dataset, agent: int, suffix: str) -> str:
    rounds, last = found[f"rounds{suffix}"].values[agent], found[f"last_loss{suffix}"].values[agent]
    if math.isfinite(rounds):
        return f"{rounds:,.0f}" + "*" * bool(found[f"rises_again{suffix}"].values[agent])
    outcome, computed = found.attrs[f"outcome{suffix}"], found.attrs[f"rounds_computed{suffix}"]
    if outcome == "diverged":
        return "diverges"
    return "never" if outcome == "settled" else f"> {computed:,} ({_loss(last)} then)"


def _loss(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "0" if value < 1e-9 else f"{value:.3g}"


def _classes(counts: np.ndarray) -> str:
    """The classes of an agent."""
    held = np.flatnonzero(counts)
    return ", ".join(map(str, held)) if len(held) <= 3 else f"{len(held)} classes"


def _print_stability(prediction: RoundsPrediction) -> None:
    rate, limit, checked = prediction.learning_rate, prediction.largest_learning_rate, prediction.stability
    if rate < limit:
        share = "any learning rate is stable" if math.isinf(limit) else f"{rate / limit:.0%} of the largest stable one"
        results.print(f"\nη = {rate:.4g} is {share}, {limit:.4g}; spectral radius of a round {_radius(checked)}")
        results.print(f"- {checked.limited_by}")
    elif limit > 0:
        results.print(
            f"\nη = {rate:.4g} is beyond the largest stable learning rate, {limit:.4g}: rounds diverge "
            f"(spectral radius {_radius(checked)}). Write --learning-rate {limit / 2:.2g}, say."
        )
    else:
        results.print(f"\nNo learning rate is stable with this W; spectral radius of a round {_radius(checked)}.")
    for reason in checked.reasons:
        results.print(f"- {reason}")


def _radius(checked: Any) -> str:
    radius = checked.spectral_radius
    return f"1 − {1 - radius:.2g}" if 0.99 < radius < 1 else f"{radius:.6g}"


def _print_modes(modes: xr.Dataset) -> None:
    from consilience.experiments.slow_modes import bands

    rows = [
        [
            _pace(band.low, band.high),
            str(band.num_modes),
            f"{band.error_share:.1%}",
            f"{band.consensus_share:.0%}",
            ", ".join(map(str, band.standing_out)) or "–",
        ]
        for band in bands(modes)
    ]
    headings = ["fall by e in rounds", "modes", "of the initial error", "common to all agents", "agents that stand out"]
    print_table("\nmodes of a round, by their pace", headings, rows)
    first = {str(name): modes[name].values[0] for name in modes.data_vars}
    approximate = " Approximate: from a Krylov space of the initial error." if "Krylov" in modes.attrs["method"] else ""
    results.print(
        f"The slowest that carries error falls by e in {first['rounds']:,.0f} rounds (|λ| = 1 − "
        f"{1 - abs(first['eigenvalue']):.2g}; {first['error_share']:.1%} of the initial error; {first['kind']}). "
        f"Errors are those of outputs on all training data.{approximate}"
    )


def _pace(low: float, high: float) -> str:
    if low == 0:
        return f"less than {high:,.0f}"
    return f"more than {low:,.0f}" if math.isinf(high) else f"{low:,.0f} – {high:,.0f}"


def _print_candidates(deployment: Deployment, candidates: xr.Dataset) -> None:
    from consilience.experiments.candidates import ROBUST, recommend

    choice = recommend(candidates)
    chosen = {}
    if choice is not None:
        chosen = {"best": choice.best, "fewest rounds": choice.fewest_rounds, "fewest messages": choice.fewest_messages}
    rows = []
    for k in range(candidates.sizes["candidate"]):
        one = {str(name): candidates[name].values[k] for name in (*candidates.data_vars, "graph", "learning_rate")}
        marks = ", ".join(mark for mark, index in chosen.items() if index == k)
        reached = math.isfinite(one["rounds"])
        rows.append(
            [
                str(one["graph"]),
                f"{one['learning_rate']:.3g}",
                f"{one['share_of_limit']:.0%}",
                f"{one['rounds']:,.0f}" if reached else _failure(one),
                str(one["slowest"]) if reached else "–",
                f"{one['messages_per_round']}",
                f"{one['messages']:,.0f}" if reached else "–",
                marks,
            ]
        )
    headings = ["graph", "η", "of its limit", "rounds", "slowest agent", "messages per round", "messages", ""]
    print_table("\ncandidates: until the slowest agent is at the target", headings, rows)
    results.print(choice.sentence if choice else "None of these candidates reaches the target.")
    size = "" if deployment.num_parameters is None else (
        f" A message holds {deployment.num_parameters:,} parameters, {4 * deployment.num_parameters / 1e6:.2g} MB."
    )  # fmt: skip
    results.print(f"Candidates above {ROBUST:.0%} of their largest stable learning rate are not recommended.{size}")


def _failure(one: dict[str, Any]) -> str:
    if one["outcome"] == "diverged":
        return "diverges"
    return "never" if one["outcome"] == "settled" else f"> {one['rounds_computed']:,}"
