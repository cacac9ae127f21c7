"""What is compared: the simulations, and the theory solved for the same shards.

The simulations are those of figure 3 with its quick protocol, on one or several data sets; the theory is solved for the
disorder measured on the same shards, and for the Gaussian disorder of figure 2. Only these axes are rescaled: the
theory's coupling is shown as σ = 2σ̂, its time is 2η · rounds, and every curve is divided by a number of its own (its
largest value, or for losses its value at σ = 0). Nothing is fitted.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.stats
import xarray as xr

from consilience import tasks
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import (
    Agreement,
    Sweep,
    TransitionPrediction,
    earliness,
    known_by_others,
    measured_onset,
    predict_transition,
    rank_agreement,
)
from consilience.graphs.arguments import whole_number
from consilience.observables import CriticalCoupling, critical_coupling, halfway
from consilience.recipes import figure_3
from consilience.recipes.recipe import Execute, several
from consilience.theory import landau

GAUSSIAN = "Gaussian"


@dataclass(frozen=True)
class Comparison:
    """The protocol: that of figure 3, `--quick`, for each data set.

    Attributes:
        datasets: what is learned.
        depths: D.
        couplings: σ of Eq. (2), increasing, from 0.
        num_rounds: rounds per coupling.
        average_after: rounds that are discarded before averaging.
        num_realizations: seeds of each simulation.
        num_agents: agents; the classes are dealt out among them.
        num_test: test images; all for digits.
        num_starts: initial conditions of the theory.
        seed: of the theory's initial conditions and of resampling.
    """

    datasets: tuple[str, ...] = ("digits", "mnist", "fashion_mnist", "cifar10")
    depths: tuple[int, ...] = (0, 1, 2)
    couplings: tuple[float, ...] = figure_3.Figure3.couplings
    num_rounds: int = 4000
    average_after: int = 2000
    num_realizations: int = 3
    num_agents: int = 10
    num_test: int | None = 2000
    num_starts: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("datasets", "depths", "couplings"):
            object.__setattr__(self, name, several(name, getattr(self, name), getattr(Comparison, name)))
        for name in self.datasets:
            if name not in tasks.DATA_SETS:
                raise UnknownName.among("data set", name, tasks.DATA_SETS)
        if sum(coupling > 0 for coupling in self.couplings) < 2:
            raise InvalidSpec(
                f"couplings={self.couplings!r}: the order of learning needs two couplings above 0 at least. Write "
                "couplings=(0.0, 3.2, 30.0, 300.0), say."
            )
        whole_number("num_agents", self.num_agents, at_least=3, reason="an order of learning needs three agents.")
        whole_number("num_starts", self.num_starts, at_least=1, reason="each is an initial condition of the theory.")

    def simulations(self, dataset: str) -> figure_3.Figure3:
        """Figure 3's protocol on one of the data sets, quenches of fully-connected networks only."""
        names = tuple(f"D = {depth}" for depth in self.depths)
        config = figure_3.for_dataset(figure_3.quick(), dataset)
        return dataclasses.replace(
            config,
            networks=names,
            adiabatic=(),
            phase_network=names[0],
            couplings=self.couplings,
            num_rounds=self.num_rounds,
            average_after=self.average_after,
            num_realizations=self.num_realizations,
            num_agents=self.num_agents,
            num_test=None if dataset == "digits" else self.num_test,
        )


def quick() -> Comparison:
    """The embedded digits alone: minutes."""
    return Comparison(datasets=("digits",))


def for_dataset(config: Comparison, dataset: str) -> Comparison:
    """The comparison on one data set."""
    return dataclasses.replace(config, datasets=(dataset,))


def stem(config: Comparison) -> str:
    """The name of the figure's files."""
    only = config.datasets if len(config.datasets) == 1 else ()
    return "-".join(["theory-and-experiment", *only])


def sweeps(config: Comparison, *, data_dir: str | None = None) -> dict[tuple[str, int], Sweep]:
    """All simulations, planned: (data set, depth) → sweep."""
    planned = {}
    for dataset in config.datasets:
        found = figure_3.sweeps(config.simulations(dataset), data_dir=data_dir)
        planned |= {(dataset, depth): found["quench", f"D = {depth}"] for depth in config.depths}
    return planned


@dataclass(frozen=True)
class Result:
    """Everything that the figure shows.

    Attributes:
        config: the protocol.
        simulated: data set → depth → what `sweep` returned.
        predictions: data set → the theory for the disorder of its shards.
        gaussian: figure 2's theory, Gaussian disorder of mean 0: depth → `landau.sweep`, with the σ of Eq. (2) as
            coupling.
        order: data set → depth → agreement of the predicted with the measured order of learning.
        order_over_definitions: data set → depth → ρ of every definition of the disorder.
    """

    config: Comparison
    simulated: dict[str, dict[int, xr.Dataset]]
    predictions: dict[str, TransitionPrediction]
    gaussian: dict[int, xr.Dataset]
    order: dict[str, dict[int, Agreement]]
    order_over_definitions: dict[str, dict[int, xr.DataArray]]

    def measured(self, dataset: str, depth: int) -> CriticalCoupling:
        """The measured critical coupling."""
        return measured_onset(self.simulated[dataset][depth].accuracy)

    def predicted(self, dataset: str, depth: int, kind: str) -> float:
        """The predicted one: by "order" or "gain" of the measured disorder, or the loss of "Gaussian" disorder."""
        if kind == GAUSSIAN:
            knowledge = -self.gaussian[depth].loss
            return critical_coupling(knowledge.mean("seed"), threshold=halfway(knowledge)).value
        prediction = self.predictions[dataset]
        return float(prediction.onsets_over_definitions(depth, kind).sel(definition=prediction.definition))


KINDS = ("order", "gain", GAUSSIAN)


def run(config: Comparison, execute: Execute, *, data_dir: str | None = None) -> Result:
    """Simulate or load, solve the theory, and hold one against the other.

    Args:
        config: the protocol.
        execute: runs or loads one sweep, `experiments.run_sweep` with a store, say.
        data_dir: where data sets are looked for first.
    """
    simulated: dict[str, dict[int, xr.Dataset]] = {dataset: {} for dataset in config.datasets}
    predictions = {}
    for (dataset, depth), planned in sweeps(config, data_dir=data_dir).items():
        simulated[dataset][depth] = execute(planned)
        if dataset not in predictions:
            experiment = planned.experiment
            shards = tasks.from_indices(experiment.task, experiment.shards, "by_class")
            predictions[dataset] = _predict(config, experiment.task, shards)
    order, by_definition = {}, {}
    for dataset, members in simulated.items():
        early = {depth: measured_earliness(one) for depth, one in members.items()}
        prediction = predictions[dataset]
        order[dataset] = {
            depth: rank_agreement(prediction.disorder.delta.values, values, seed=config.seed)
            for depth, values in early.items()
        }
        by_definition[dataset] = {
            depth: _over_definitions(prediction, values.mean(axis=0)) for depth, values in early.items()
        }
    return Result(config, simulated, predictions, _gaussian(config), order, by_definition)


def measured_earliness(dataset: xr.Dataset) -> np.ndarray:
    """How early each agent's data become known to the others, shape (seeds, agents); what diverged is left out.

    NaN if all seeds diverged somewhere.
    """
    values = earliness(known_by_others(dataset.cross_accuracy)).transpose("seed", "agent").values
    finite = values[np.isfinite(values).all(axis=1)]
    return finite if len(finite) else values


def _predict(config: Comparison, task: tasks.Task, shards: tasks.Shards) -> TransitionPrediction:
    protocol = figure_3.Figure3()
    return predict_transition(
        task, shards, depths=config.depths, learning_rate=protocol.learning_rate, num_rounds=config.num_rounds,
        weight_decay=protocol.weight_decay, num_realizations=config.num_starts, seed=config.seed,
    )  # fmt: skip


def _gaussian(config: Comparison) -> dict[int, xr.Dataset]:
    """Figure 2's theory for N = 200, shown in the σ of Eq. (2)."""
    couplings = np.array([0.0, *np.geomspace(0.03, 395.0, 34)])
    size = config.num_starts, 200
    delta, start = (draw(*size, seed=config.seed) for draw in (landau.gaussian_disorder, landau.uniform_start))
    return {
        depth: landau.sweep(delta, start, depth=depth, couplings=couplings / 2).assign_coords(coupling=couplings)
        for depth in config.depths
    }


def _over_definitions(prediction: TransitionPrediction, early: np.ndarray) -> xr.DataArray:
    variants = prediction.variants.delta
    values = [
        float(scipy.stats.spearmanr(variants.sel(definition=name).values, early).statistic)  # pyright: ignore
        for name in variants.definition.values
    ]
    return xr.DataArray(values, {"definition": variants.definition.values}, ("definition",))
