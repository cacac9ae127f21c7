"""What is swept: every method over its control parameter, in the setting of figure 3."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from consilience import graphs, models, tasks
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import Sweep, resolve_sweep
from consilience.graphs.arguments import whole_number
from consilience.recipes.phase_diagram.methods import METHODS
from consilience.recipes.recipe import several


def _grid(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(f"{value:.3g}") for value in np.geomspace(first, last, count))


@dataclass(frozen=True)
class PhaseDiagram:
    """The protocol. All methods ask for equally many gradients, and their agents start from the same parameters.

    Attributes:
        dataset: "digits", "mnist", "fashion_mnist" or "cifar10".
        methods: names of `METHODS`.
        pulls: Π, in units of σ, increasing, up to 1/η; each method's control parameter takes the values of these pulls.
        participants: agents per round of federated averaging, increasing.
        server_rates: of federated averaging, increasing.
        num_rounds: local steps of every agent at each value.
        average_after: steps that are discarded before averaging.
        num_seeds: realizations.
        num_agents: agents; the classes are dealt out among them.
        depth: hidden layers.
        width: neurons of each.
        learning_rate: η.
        weight_decay: γ of γ‖θ‖².
        batch_size: B.
        local_steps: of federated averaging, per round.
        fraction: of the numbers that the top-k compressor of CHOCO-SGD keeps.
        selectivity: λ of the triadic coupling.
        num_train: training images; all by default.
        num_test: test images; all if None.
        observe_every: steps between two evaluations. A prime number, so that they do not keep step with the exchanges
            of local SGD.
        margin: the critical value is where ⟨A⟩ exceeds chance by this much.
    """

    dataset: str = "mnist"
    methods: tuple[str, ...] = tuple(METHODS)
    pulls: tuple[float, ...] = _grid(0.1, 200.0, 9)
    participants: tuple[int, ...] = (1, 2, 3, 5, 10)
    server_rates: tuple[float, ...] = _grid(0.001, 1.0, 7)
    num_rounds: int = 2000
    average_after: int = 1000
    num_seeds: int = 3
    num_agents: int = 10
    depth: int = 1
    width: int = 20
    learning_rate: float = 0.005
    weight_decay: float = 1e-3
    batch_size: int = 32
    local_steps: int = 10
    fraction: float = 0.1
    selectivity: float = 1.0
    num_train: int | None = None
    num_test: int | None = 1000
    observe_every: int = 97
    margin: float = 0.1

    def __post_init__(self) -> None:
        for name in ("methods", "pulls", "participants", "server_rates"):
            object.__setattr__(self, name, several(name, getattr(self, name), getattr(PhaseDiagram, name)))
        for name in self.methods:
            if name not in METHODS:
                raise UnknownName.among("method of this study", name, METHODS)
        for name in ("pulls", "participants", "server_rates"):
            self._check_increase(name)
        for name in ("num_rounds", "num_seeds", "num_agents", "observe_every", "local_steps"):
            whole_number(name, getattr(self, name), at_least=1, reason="it is a number of steps, runs or agents.")
        if self.pulls[-1] * self.learning_rate > 1 + 1e-12:
            raise InvalidSpec(
                f"pulls={self.pulls!r}: at η = {self.learning_rate:g} agents that average completely in every round "
                f"have the pull {1 / self.learning_rate:g}, and there is no more. Write pulls=(0.1, 1.0, 10.0), say."
            )
        if self.participants[-1] > self.num_agents:
            raise InvalidSpec(
                f"participants={self.participants!r}: there are {self.num_agents} agents. Write participants=(1, 2)."
            )
        if not 0 <= self.average_after < self.num_rounds:
            raise InvalidSpec(
                f"average_after={self.average_after} leaves no step of num_rounds={self.num_rounds} to average over. "
                f"Write average_after={self.num_rounds // 2}."
            )

    def _check_increase(self, name: str) -> None:
        values = getattr(self, name)
        if values[0] <= 0 or list(values) != sorted(values):
            raise InvalidSpec(
                f"{name}={values!r}: a transition is sought from weak to strong coupling, on a logarithmic axis, so "
                f"these are positive and increase. Write {name}={getattr(PhaseDiagram, name)!r}, say."
            )


def quick() -> PhaseDiagram:
    """Digits, some of the methods, few values, rounds and seeds: a minute or two."""
    return PhaseDiagram(
        dataset="digits",
        methods=("diffusive_coupling", "dgd", "elastic_averaging", "local_sgd", "choco_sgd", "federated_server_rate"),
        pulls=_grid(0.3, 200.0, 5),
        server_rates=(0.003, 0.03, 0.3, 1.0),
        num_seeds=2, num_test=None,
    )  # fmt: skip


def full() -> PhaseDiagram:
    """Finer grids, more rounds and seeds, all test images: hours."""
    return PhaseDiagram(
        pulls=_grid(0.05, 200.0, 17), participants=tuple(range(1, 11)), server_rates=_grid(0.0003, 1.0, 13),
        num_rounds=20_000, average_after=10_000, num_seeds=10, num_test=None, observe_every=499,
    )  # fmt: skip


def for_dataset(config: PhaseDiagram, dataset: str) -> PhaseDiagram:
    """`config` on another data set; of the few digits all are tested."""
    return dataclasses.replace(config, dataset=dataset, num_test=None if dataset == "digits" else 1000)


def stem(config: PhaseDiagram) -> str:
    """The name of the figure's files."""
    return f"phase-diagram-{config.dataset}"


def load(config: PhaseDiagram, data_dir: str | None = None) -> tasks.Task:
    """The images with their classes."""
    return tasks.load(config.dataset, data_dir=data_dir, num_train=config.num_train, num_test=config.num_test)


def sweeps(config: PhaseDiagram, *, data_dir: str | None = None) -> dict[tuple[str, float | None], Sweep]:
    """All sweeps: (method, value), or (method, None) for all values of a parameter that is swept."""
    task = load(config, data_dir)
    common = {
        "model": models.mlp(depth=config.depth, width=config.width),
        "task": task,
        "shards": tasks.by_class(task, num_agents=config.num_agents),
        "graph": graphs.complete(config.num_agents),
        "batch_size": config.batch_size,
        "observe": ("accuracy",),
        "common_init": True,
    }
    return {
        (name, value): planned for name in config.methods for value, planned in _of_method(name, config, common).items()
    }


def _of_method(name: str, config: PhaseDiagram, common: dict[str, Any]) -> dict[float | None, Sweep]:
    method, seeds = METHODS[name], range(config.num_seeds)
    algorithm, values = method.algorithm(config), method.values(config)
    # A round of several local steps counts for as many.
    steps = algorithm.num_local_steps

    def planned(over: dict[str, Any], options: dict[str, Any], at: str) -> Sweep:
        return resolve_sweep(
            algorithm,
            over={**over, "seed": seeds},
            num_rounds=max(1, config.num_rounds // steps),
            observe_every=max(1, config.observe_every // steps),
            average_after=config.average_after // steps,
            title=f"phase-diagram {config.dataset} {name}{at}",
            **common,
            **options,
        )

    if method.swept is not None:
        return {None: planned({method.swept: values}, {}, "")}
    return {value: planned({}, method.options(config, value), f" at {value:.3g}") for value in values}
