"""What is predicted, what is trained, and how far apart they are."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.stats
import xarray as xr

from consilience import graphs, models, tasks
from consilience.axes import AGENT, ROUND
from consilience.experiments import Computation, Sweep
from consilience.randomness import Purpose, key
from consilience.recipes.peer_to_peer.protocol import ALGORITHMS, GRAPHS, HELD_BY, SETTINGS, Case, PeerToPeer, sweeps
from consilience.recipes.recipe import Execute
from consilience.tasks import Task
from consilience.theory import peer_to_peer

LOSSES = ("test_loss", "objective", "train_loss")
"""On the test set; on the data of all agents; on the agent's own."""


def common_start(model: models.Model, task: Task, seed: int) -> models.Params:
    """θ⁰, as a simulation with `common_init` draws it."""
    return model.init(key(seed, Purpose.INITIAL_PARAMETERS, 0), task.input_shape, task.num_outputs)


def _predicted(planned: Sweep, names: tuple[str, ...], rate: float, seed: int) -> xr.Dataset:
    """One initialisation on all graphs by all algorithms, dimensions (graph, algorithm, round, agent)."""
    experiment, start = planned.experiment, time.perf_counter()
    task = experiment.task
    inputs, targets = tasks.shard_arrays(task, experiment.shards)
    linearization = peer_to_peer.linearize(
        experiment.model, common_start(experiment.model, task, seed), inputs, targets,
        test_inputs=task.test_inputs, test_targets=task.test_labels,
    )  # fmt: skip
    linearized = time.perf_counter() - start

    def one(name: str, algorithm: str) -> xr.Dataset:
        start = time.perf_counter()
        run = peer_to_peer.trajectory(
            linearization, graphs.metropolis(GRAPHS[name](experiment.num_agents)), algorithm=algorithm,
            learning_rate=rate, num_rounds=experiment.num_rounds,
        )  # fmt: skip
        return run[list(LOSSES)].assign(seconds=time.perf_counter() - start).drop_attrs()

    found = [xr.concat([one(name, algorithm) for algorithm in ALGORITHMS], "algorithm") for name in names]
    return xr.concat(found, "graph").assign(linearization_seconds=linearized)


def computation(config: PeerToPeer, case: Case, planned: Sweep) -> Computation:
    """All predictions of a case, a cell for each initialisation."""
    experiment, names = planned.experiment, SETTINGS[case.setting].graphs
    parameters = {
        "model": experiment.model,
        "task": experiment.task,
        "shards": [np.asarray(shard) for shard in experiment.shards],
        "graphs": list(names),
        "algorithms": list(ALGORITHMS),
        "learning_rate": config.learning_rate,
        "num_rounds": config.num_rounds,
    }
    predicted = partial(_predicted, planned, names, config.learning_rate)
    cells = {f"seed={seed}": partial(predicted, seed) for seed in range(config.num_realizations)}
    return Computation(
        f"peer-to-peer {config.dataset}, {case.label}, prediction", "peer_to_peer.trajectory", parameters, cells
    )


def _losses(trained: xr.Dataset) -> xr.Dataset:
    """`LOSSES` of what `sweep` returned, and the seconds that one realization took, without evaluation."""
    by_shard = trained.shard_losses.transpose("seed", ROUND, AGENT, HELD_BY)
    own = by_shard.isel({HELD_BY: 0}, drop=True).copy(data=np.diagonal(by_shard.values, axis1=-2, axis2=-1))
    seconds = trained.attrs["wall_seconds"]["advance"] / trained.sizes["seed"]
    found = {"test_loss": trained.loss, "objective": by_shard.mean(HELD_BY), "train_loss": own}
    return xr.Dataset({**found, "seconds": seconds}).drop_attrs()


@dataclass(frozen=True)
class Slope:
    """By which power of the width the error falls.

    Attributes:
        value: slope of the least-squares line through log error against log width.
        interval: 95 % interval of Student's t; NaN if there are no more than two networks.
        num_networks: points of the fit.
    """

    value: float
    interval: tuple[float, float]
    num_networks: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2f} ({low:.2f} to {high:.2f})".replace("-", "−")


def slope(errors: xr.DataArray) -> Slope:
    """The slope of log error against log width.

    Args:
        errors: dimensions (width, seed), positive, of networks that are all drawn independently.

    Example:
        >>> errors = xr.DataArray([[0.08, 0.04], [0.02, 0.01]], {"width": [64, 256]}, ("width", "seed"))
        >>> round(slope(errors).value, 9)
        -1.0
    """
    values = errors.transpose("width", "seed").values
    x = np.log(np.broadcast_to(errors.width.values[:, None], values.shape)).ravel()
    fit: Any = scipy.stats.linregress(x, np.log(values).ravel())
    freedom = x.size - 2
    half = scipy.stats.t.ppf(0.975, freedom) * fit.stderr if freedom > 0 else np.nan
    return Slope(float(fit.slope), (float(fit.slope - half), float(fit.slope + half)), x.size)


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        predicted: case → `LOSSES`, dimensions (seed, graph, algorithm, round, agent), all rounds; `seconds` of a
            prediction (seed, graph, algorithm) and `linearization_seconds` (seed) of what it starts from.
        trained: case → `LOSSES` in the rounds that were evaluated; `seconds` (graph, algorithm).
        outcomes: how many networks completed, diverged, ...
    """

    config: PeerToPeer
    predicted: dict[Case, xr.Dataset]
    trained: dict[Case, xr.Dataset]
    outcomes: dict[str, int]

    def relative_errors(self, case: Case) -> xr.Dataset:
        """Predicted over trained minus 1, of all `LOSSES`, dimensions (seed, graph, algorithm, round, agent)."""
        trained = self.trained[case][list(LOSSES)]
        predicted = self.predicted[case][list(LOSSES)].sel({ROUND: trained[ROUND]})
        return (predicted / trained - 1).transpose("seed", "graph", "algorithm", ROUND, AGENT)

    def largest_errors(self, case: Case) -> xr.Dataset:
        """Of any agent in any round that was evaluated, dimensions (seed, graph, algorithm); NaN if one diverged."""
        return abs(self.relative_errors(case)).max((ROUND, AGENT), skipna=False)

    @cached_property
    def errors_by_width(self) -> xr.DataArray:
        """Largest errors of the test loss of the networks with one hidden layer, (width, seed, graph, algorithm)."""
        cases = [case for case in self.config.cases if case.setting == "network"]
        found: list[xr.DataArray] = [self.largest_errors(case)["test_loss"] for case in cases]
        return xr.concat(found, xr.Variable("width", [case.width for case in cases]))

    @cached_property
    def slope(self) -> Slope | None:
        """Of the largest error on any graph by any algorithm; None for a single width."""
        errors = self.errors_by_width
        return slope(errors.max(("graph", "algorithm"))) if errors.sizes["width"] > 1 else None


def run(config: PeerToPeer, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Predict and train, or load what is stored of it.

    Args:
        config: the protocol.
        execute: runs or loads a sweep or a computation, with a store, say.
        data_dir: where data sets are looked for first.
    """
    planned, predicted, trained, outcomes = sweeps(config, data_dir=data_dir), {}, {}, []
    for case in config.cases:
        mine = {(name, algorithm): one for (of, name, algorithm), one in planned.items() if of == case}
        done = execute(computation(config, case, next(iter(mine.values()))))
        names = SETTINGS[case.setting].graphs
        labels = {"graph": list(names), "algorithm": list(ALGORITHMS)}
        predicted[case] = xr.concat(list(done.values()), "seed").assign_coords(labels)
        losses: dict[Any, xr.Dataset] = {}
        for where, sweep in mine.items():
            result = execute(sweep)
            losses[where] = _losses(result)
            outcomes += result.outcome.values.ravel().tolist()
        trained[case] = _stacked(losses, names).assign_coords(labels).drop_vars("seed")
    return Result(config, predicted, trained, {name: outcomes.count(name) for name in sorted(set(outcomes))})


def _stacked(losses: dict[Any, xr.Dataset], names: Iterable[str]) -> xr.Dataset:
    rows = [xr.concat([losses[name, algorithm] for algorithm in ALGORITHMS], "algorithm") for name in names]
    return xr.concat(rows, "graph")
