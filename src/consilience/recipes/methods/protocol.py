"""Who is compared, on what, at what price; and the sweeps that follow from it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from dataclasses import dataclass
from typing import Any

from consilience import algorithms, models
from consilience.algorithms import Algorithm
from consilience.errors import IncompatiblePair, InvalidSpec, StabilityWarning, UnknownName
from consilience.experiments import Sweep, resolve_sweep
from consilience.experiments.spec import build_task_and_graph, parse_assignment, parse_value
from consilience.graphs.arguments import whole_number
from consilience.recipes.recipe import several
from consilience.simulation import costs, resolve_experiment

UNITS = ("rounds", "bits", "gradients")
"""What a budget may be counted in."""
FIRST_TUNING_SEED = 10_000
"""Tuning counts its seeds from here, evaluation from 0: no run is in both."""
_PARTS = {"graph": "family", "partition": "name"}
"""Parts of the spec that may be set beside the methods → what names them."""


@dataclass(frozen=True)
class Methods:
    """The protocol. All agents start from the same parameters, as federated averaging must.

    Attributes:
        methods: names of the catalog.
        dataset: "digits", "mnist", "fashion_mnist" or "cifar10".
        partition: a name, or a table as in a spec: '{name = "dirichlet", alpha = 0.3}'.
        graph: a name, or a table as in a spec: '{family = "torus", rows = 2, columns = 5}'.
        num_agents: N.
        budget: what each method may spend, all agents together: "rounds=2000", "bits=1e9" or "gradients=1e6".
        rates: learning rates, increasing; the best is chosen for each method.
        num_seeds: evaluations.
        num_tuning_seeds: runs per learning rate by which it is chosen, on seeds of their own.
        settings: "method.parameter=value", "graph.parameter=value" and "partition.parameter=value".
        depth: hidden layers of the network.
        width: neurons of each.
        batch_size: B.
        weight_decay: γ of all methods that have one.
        num_train: training images; all by default.
        num_test: test images; all if None.
        num_records: evaluations along each run.
        max_rounds: rounds at which a method stops, even if it has not spent its budget.
    """

    methods: tuple[str, ...] = (
        "isolated", "diffusive_coupling", "dgd", "adapt_then_combine", "choco_sgd", "federated_averaging",
    )  # fmt: skip
    dataset: str = "mnist"
    partition: str = "by_class"
    graph: str = "complete"
    num_agents: int = 10
    budget: str = "rounds=2000"
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    num_seeds: int = 5
    num_tuning_seeds: int = 2
    settings: tuple[str, ...] = ()
    depth: int = 1
    width: int = 20
    batch_size: int = 32
    weight_decay: float = 1e-4
    num_train: int | None = None
    num_test: int | None = 2000
    num_records: int = 20
    max_rounds: int = 20_000

    def __post_init__(self) -> None:
        for name in ("methods", "rates"):
            object.__setattr__(self, name, several(name, getattr(self, name), getattr(Methods, name)))
        object.__setattr__(self, "settings", several("settings", self.settings, ("dgd.weight_decay=0",), at_least=0))
        for name in self.methods:
            if name not in algorithms.catalog():
                raise UnknownName.among("method", name, algorithms.catalog())
        if list(self.rates) != sorted(self.rates) or self.rates[0] <= 0:
            raise InvalidSpec(
                f"rates={self.rates!r}: learning rates are positive and increase, so that the best may be seen to lie "
                "inside the grid. Write rates=(0.003, 0.01, 0.03, 0.1), say."
            )
        for name in ("num_seeds", "num_tuning_seeds", "num_records", "max_rounds"):
            whole_number(name, getattr(self, name), at_least=1, reason="it is a number of runs, records or rounds.")
        if self.num_seeds > FIRST_TUNING_SEED:
            raise InvalidSpec(
                f"num_seeds={self.num_seeds}: tuning uses the seeds from {FIRST_TUNING_SEED} on, and no run may be in "
                f"both. Write num_seeds={FIRST_TUNING_SEED} or less."
            )
        self.allowance()
        self.table("graph")

    def allowance(self) -> tuple[str, float]:
        """Unit and amount of the budget."""
        unit, amount = parse_assignment(self.budget)
        if unit not in UNITS:
            raise UnknownName.among("unit of a budget", unit, UNITS)
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not amount > 0:
            raise InvalidSpec(f"budget={self.budget!r}: a budget is a positive number. Write budget='{unit}=1000'.")
        return unit, float(amount)

    def settings_of(self, part: str) -> dict[str, Any]:
        """What `settings` says of a method, of the graph or of the partition: parameter → value."""
        found: dict[str, Any] = {}
        for setting in self.settings:
            path, value = parse_assignment(setting)
            head, _, parameter = path.partition(".")
            if head not in (*self.methods, *_PARTS):
                raise UnknownName.among("method of this comparison", head, (*self.methods, *_PARTS))
            if not parameter or (parameter == "learning_rate" and head not in _PARTS):
                raise InvalidSpec(
                    f"{setting!r}: settings are those of a method, with a dot before the parameter, and the learning "
                    "rate is not among them, for it is tuned. Write choco_sgd.consensus_step=0.1, say, or rates=..."
                )
            if head == part:
                found[parameter] = value
        return found

    def table(self, part: str) -> dict[str, Any]:
        """The graph, or the partition, as the table of a spec."""
        given = parse_value(getattr(self, part))
        table = dict(given) if isinstance(given, dict) else {_PARTS[part]: getattr(self, part)}
        return table | self.settings_of(part)


def quick() -> Methods:
    """Digits, fewer methods, rounds, rates and seeds: less than a minute."""
    return Methods(
        methods=("isolated", "dgd", "adapt_then_combine", "choco_sgd"), dataset="digits", budget="rounds=400",
        rates=(0.01, 0.03, 0.1, 0.3), num_seeds=3, num_test=None,
    )  # fmt: skip


def full() -> Methods:
    """More rounds, rates and seeds, and all test images."""
    return Methods(
        budget="rounds=10000", rates=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), num_seeds=10, num_tuning_seeds=3,
        num_test=None,
    )  # fmt: skip


def for_dataset(config: Methods, dataset: str) -> Methods:
    """`config` on another data set; of the few digits all are tested."""
    return dataclasses.replace(config, dataset=dataset, num_test=None if dataset == "digits" else 2000)


def stem(config: Methods) -> str:
    """The name of the figure's files."""
    parts = re.sub(r"[^\w]+", "-", f"{config.graph}-{config.partition}").strip("-")
    return f"methods-{config.dataset}-{parts}"


@dataclass(frozen=True)
class Contender:
    """A method, with what the budget makes of it.

    Attributes:
        name: in the catalog.
        algorithm: with any learning rate.
        bits: that all agents send in a round.
        gradients: that all agents ask for in a round.
        num_rounds: that it may run.
        is_capped: whether it stops at `max_rounds` with some of its budget left.
        setting: model, task, shards, graph and what else all contenders share.
    """

    name: str
    algorithm: Algorithm
    bits: int
    gradients: int
    num_rounds: int
    is_capped: bool
    setting: dict[str, Any] = dataclasses.field(repr=False)

    def tuning(self, config: Methods) -> Sweep:
        """All learning rates, observed at the end."""
        seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + config.num_tuning_seeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # to find where a method diverges is what a grid is for
            return self._sweep(
                self.algorithm, {"learning_rate": config.rates, "seed": seeds}, ("accuracy",), self.num_rounds, "tuned"
            )

    def evaluation(self, config: Methods, rate: float) -> Sweep:
        """One learning rate on the seeds of the evaluation, observed along the way."""
        observe, every = ("accuracy", "consensus_distance"), max(1, self.num_rounds // config.num_records)
        algorithm = dataclasses.replace(self.algorithm, learning_rate=rate)
        return self._sweep(algorithm, {"seed": range(config.num_seeds)}, observe, every, f"at η = {rate:g}")

    def _sweep(
        self, algorithm: Algorithm, over: dict[str, Any], observe: tuple[str, ...], observe_every: int, what: str
    ) -> Sweep:
        return resolve_sweep(
            algorithm,
            over=over,
            num_rounds=self.num_rounds,
            observe=observe,
            observe_every=observe_every,
            title=f"methods {self.setting['task'].name} {self.name} {what}",
            **self.setting,
        )


def contenders(config: Methods, *, data_dir: str | None = None) -> dict[str, Contender]:
    """All methods with their rounds, by name.

    Raises:
        UnknownName: for a method or a parameter that does not exist.
        IncompatiblePair: for a method that the graph cannot carry; it is named.
        InvalidSpec: for a budget that does not pay for one round of a method.
    """
    task, shards, graph = build_task_and_graph(
        {
            "task": {"name": config.dataset, "num_train": config.num_train, "num_test": config.num_test},
            "partition": {"num_agents": config.num_agents, **config.table("partition")},
            "graph": config.table("graph"),
        },
        data_dir=data_dir,
    )
    setting = {
        "model": models.mlp(depth=config.depth, width=config.width),
        "task": task,
        "shards": shards,
        "graph": graph,
        "batch_size": config.batch_size,
        "common_init": True,
    }
    return {name: _contender(name, config, setting) for name in config.methods}


def _contender(name: str, config: Methods, setting: dict[str, Any]) -> Contender:
    algorithm = _made(name, config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # which learning rate it will have is not known yet
            one_round = costs(resolve_experiment(algorithm, num_rounds=1, observe=("accuracy",), **setting))
    except IncompatiblePair as error:
        raise IncompatiblePair(f"{name}: {error}") from error
    bits, gradients = int(one_round.bits[-1]), int(one_round.gradients[-1])
    unit, amount = config.allowance()
    price = {"rounds": 1, "bits": bits, "gradients": gradients}[unit]
    affordable = int(amount // price) if price else config.max_rounds + 1
    if affordable < 1:
        raise InvalidSpec(
            f"budget={config.budget!r} does not pay for one round of {name}, which takes {price:,} {unit}. Write "
            f"budget='{unit}={100 * price:.0e}', say, or leave {name} out."
        )
    rounds = min(affordable, config.max_rounds)
    return Contender(name, algorithm, bits, gradients, rounds, rounds < affordable, setting)


def _made(name: str, config: Methods) -> Algorithm:
    """The method as the catalog shows it, with the common weight decay, and what `settings` says."""
    entry = algorithms.catalog()[name]
    common = {"weight_decay": config.weight_decay, "learning_rate": config.rates[0]}
    known = inspect.signature(entry.method).parameters
    given = {key: value for key, value in common.items() if key in known}
    algorithm = algorithms.make(name, **{**entry.representative, **given, **config.settings_of(name)})
    if "learning_rate" not in {field.name for field in dataclasses.fields(algorithm)}:
        raise InvalidSpec(f"{name} has no learning_rate, by which all methods are tuned here. Leave {name} out.")
    return algorithm


def sweeps(config: Methods, *, data_dir: str | None = None) -> dict[str, Sweep]:
    """The tuning of all methods, by name. Their evaluation follows from it, and cannot be planned before."""
    return {name: contender.tuning(config) for name, contender in contenders(config, data_dir=data_dir).items()}
