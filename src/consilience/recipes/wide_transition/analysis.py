"""What is trained and predicted, and what the two say: critical couplings, their law, errors against width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import xarray as xr

from consilience import tasks
from consilience.axes import AGENT, AGENT_EVALUATED, ROUND
from consilience.experiments import Computation
from consilience.observables import CriticalCoupling, critical_coupling
from consilience.recipes.recipe import Execute
from consilience.recipes.wide_transition.law import rest, transition
from consilience.recipes.wide_transition.prediction import as_curves, predict
from consilience.recipes.wide_transition.protocol import STARTS, WideTransition, load, settings, sweeps

SEED = "seed"
DRAW = "draw"
_NUM_BOOTSTRAP = 200
_DIVERGED = 10.0
"""A linearised network whose loss ends that many times above where it began is beyond its largest stable rate."""


def measured(dataset: xr.Dataset) -> xr.Dataset:
    """What is kept of a sweep; as `predict` returns it, with a dimension "seed"."""
    ordered = dataset.transpose(SEED, "coupling", ROUND, AGENT, AGENT_EVALUATED, ...)
    of_seeds = [
        as_curves(
            one.cross_accuracy.values.astype(float),
            one.loss.mean(AGENT).values,
            one.consensus_distance.values,
            tuple(one.coupling.values.tolist()),
            one[ROUND].values,
        )
        for one in (ordered.isel({SEED: k}) for k in range(ordered.sizes[SEED]))
    ]
    return xr.concat(of_seeds, dim=xr.Variable(SEED, dataset[SEED].values))


def predictions(config: WideTransition, task: tasks.Task, shards: tasks.Shards) -> Computation:
    """Exact rounds of every setting and seed."""
    cells = {
        f"{name},seed={seed}": partial(predict, config, setting, task, shards, seed=seed)
        for name, setting in settings(config).items()
        for seed in range(config.num_seeds)
    }
    rate = config.learning_rate
    parameters = {"learning_rate": rate, "settings": settings(config), "task": task, "shards": shards}
    return Computation("wide-transition, kernels", "peer_to_peer rounds of wide networks", parameters, cells)


def laws(config: WideTransition, task: tasks.Task, shards: tasks.Shards) -> Computation:
    """The law at infinite width: every depth, start and initial function; and at rest with weight decay."""
    cells = {
        f"{start},D={depth},draw={draw}": partial(transition, config, depth, start, draw, task, shards)
        for start, depth, draw in product(STARTS, config.depths, range(config.num_draws))
    }
    cells |= {f"rest,D={depth}": partial(rest, config, depth, task, shards) for depth in config.depths}
    names = ("learning_rate", "law_couplings", "law_rounds", "weight_decays")
    parameters = {"task": task, "shards": shards} | {name: getattr(config, name) for name in names}
    return Computation("wide-transition, law", "exchange and learning in series", parameters, cells)


def without_diverged(predicted: xr.Dataset) -> xr.Dataset:
    """NaN at all rounds of the couplings and seeds at which the linearised network is unstable.

    Training often is not: a network leaves regions that are too curved for its rate (the "catapult").
    """
    loss = predicted.loss
    return predicted.where(loss.isel({ROUND: -1}) < _DIVERGED * loss.isel({ROUND: 0}))


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        trained: setting → `unseen`, `own`, `loss`, `consensus_distance`, dimensions (seed, coupling, round).
        predicted: the same by the kernel, of the same initial parameters; NaN where it is unstable.
        law: (start, depth) → `unseen`(draw, coupling, round), `limit`(draw, exchanges) at infinite width.
        rest: depth → `unseen`(weight_decay, coupling) at infinite width, as rounds go to infinity.
    """

    config: WideTransition
    trained: dict[str, xr.Dataset]
    predicted: dict[str, xr.Dataset]
    law: dict[tuple[str, int], xr.Dataset]
    rest: dict[int, xr.Dataset]

    def critical(self, source: dict[str, xr.Dataset], name: str, round: int | None = None) -> CriticalCoupling:
        """σ_c of a setting after some rounds, all by default; `source` is `trained` or `predicted`."""
        unseen = source[name].unseen
        at = unseen.isel({ROUND: -1}) if round is None else unseen.sel({ROUND: round})
        return critical_coupling(at, threshold=self.config.threshold, num_bootstrap=_NUM_BOOTSTRAP)

    def critical_by_round(self, source: dict[str, xr.Dataset], name: str) -> dict[int, CriticalCoupling]:
        """T → σ_c, where it is on the grid of couplings."""
        rounds = [int(round) for round in source[name][ROUND].values[1:]]
        found = {round: self.critical(source, name, round) for round in rounds}
        first = source[name].coupling.values[0]
        return {round: one for round, one in found.items() if np.isfinite(one.value) and one.value > first}

    def law_critical(self, start: str, depth: int) -> xr.DataArray:
        """σ_c by the law, dimensions (draw, round); NaN where it is not on the grid."""
        unseen = self.law[start, depth].unseen
        values = [
            [_crossing(one, self.config.threshold) for one in draw.transpose(ROUND, "coupling")] for draw in unseen
        ]
        return xr.DataArray(values, {ROUND: unseen[ROUND].values}, (DRAW, ROUND))

    def exchanges(self, depth: int) -> xr.DataArray:
        """c of σ_c = c/(ηT) for σ → 0, dimension "draw"; infinite if unseen classes are never known in that limit."""
        limit = self.law["common", depth].limit.rename(exchanges="coupling")
        values = [_crossing(one, self.config.threshold) for one in limit]
        return xr.DataArray(np.nan_to_num(values, nan=np.inf), dims=DRAW)

    def resting_critical(self, depth: int) -> xr.DataArray:
        """σ_c at rest against γ by the law, dimension "weight_decay"; NaN if it is not on the grid."""
        unseen = self.rest[depth].unseen
        values = [_crossing(one, self.config.threshold) for one in unseen]
        return xr.DataArray(values, {"weight_decay": unseen.weight_decay.values}, ("weight_decay",))

    @property
    def num_unstable(self) -> int:
        """Predictions, one for each setting, coupling and seed, that are left out because they diverge."""
        return sum(int(one.loss.isel({ROUND: -1}).isnull().sum()) for one in self.predicted.values())

    def errors(self, name: str) -> xr.DataArray:
        """Predicted minus trained accuracy on unseen classes, dimensions (seed, coupling, round), round 0 left out."""
        return (self.predicted[name].unseen - self.trained[name].unseen).isel({ROUND: slice(1, None)})

    def errors_by_width(self) -> dict[int, xr.DataArray]:
        """Width → root mean square of `errors` at D = 1 over couplings and rounds, dimension "seed"."""
        config = self.config
        names = {width: f"width={width}" for width in config.widths} | {config.width: "common,D=1"}
        found = {}
        for width in sorted(names):
            error = self.errors(names[width]).sel(coupling=list(config.spread_couplings))
            found[width] = np.sqrt((error**2).mean(("coupling", ROUND)))
        return found

    def slope(self) -> tuple[float, float]:
        """The exponent with which errors fall with the width, and its standard error over seeds."""
        errors = self.errors_by_width()
        widths = np.log(list(errors))
        each = [np.polyfit(widths, np.log(one), 1)[0] for one in np.transpose([one.values for one in errors.values()])]
        return float(np.mean(each)), float(np.std(each, ddof=1) / len(each) ** 0.5) if len(each) > 1 else np.nan


def _crossing(unseen: xr.DataArray, threshold: float) -> float:
    """The critical coupling of one curve; NaN if it is not between two points of the grid."""
    found = critical_coupling(unseen, threshold=threshold)
    return found.value if found.value > float(unseen.coupling[0]) else np.nan


def run(config: WideTransition, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Train and predict, or load.

    Args:
        config: the protocol.
        execute: runs or loads, `experiments.run_sweep` and `experiments.compute` with a store, say.
        data_dir: where data sets are looked for first.
    """
    task, shards = load(config, data_dir)
    theory = execute(laws(config, task, shards))
    kernels = execute(predictions(config, task, shards))
    trained = {name: measured(execute(planned)) for name, planned in sweeps(config, data_dir=data_dir).items()}
    seeds, draws = range(config.num_seeds), range(config.num_draws)
    return Result(
        config=config,
        trained=trained,
        predicted={
            name: without_diverged(
                xr.concat([kernels[f"{name},seed={seed}"] for seed in seeds], dim=xr.Variable(SEED, list(seeds)))
            )
            for name in settings(config)
        },
        law={
            (start, depth): xr.concat([theory[f"{start},D={depth},draw={draw}"] for draw in draws], dim=DRAW)
            for start, depth in product(STARTS, config.depths)
        },
        rest={depth: theory[f"rest,D={depth}"] for depth in config.depths},
    )
