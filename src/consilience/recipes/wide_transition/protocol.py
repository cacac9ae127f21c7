"""Ten agents with one class each, in wide networks: what is trained, and what is predicted beside it.

Every setting is trained and predicted on the same data from the same initial parameters. Classification is regression
here: ten outputs, squared loss against one-hot targets, full batches, Eq. (2) of paper 001.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from consilience import graphs, models, tasks
from consilience.algorithms import DiffusiveCoupling
from consilience.errors import InvalidSpec
from consilience.experiments import Sweep, resolve_sweep
from consilience.graphs.arguments import whole_number
from consilience.recipes.recipe import several

NUM_AGENTS = 10
"""One for each class."""
STARTS = ("common", "independent")
"""All agents from the same parameters, or each from its own."""


def _grid(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(f"{value:.3g}") for value in np.geomspace(first, last, count))


@dataclass(frozen=True)
class WideTransition:
    """The protocol.

    Attributes:
        dataset: what is learned.
        samples: training images of each agent.
        num_test: test images; None for all.
        depths: numbers of hidden layers D.
        width: neurons of each hidden layer.
        widths: others at which training at D = 1 is compared with its prediction.
        learning_rate: η.
        couplings: σ of Eq. (2) on the complete graph, increasing, below 2/η.
        cycle_couplings: σ on the cycle, at D = 1.
        num_rounds: T, the rounds of training.
        record_every: rounds between two records; divides `num_rounds`.
        num_seeds: initial conditions that are trained.
        weight_decay: γ of the runs that come to rest, at D = 0 and 1.
        decay_couplings: their σ.
        decay_rounds: their rounds.
        num_draws: initial functions of networks of infinite width.
        law_couplings: σ of the theory of infinite width, increasing.
        law_rounds: T up to which it is evaluated.
        weight_decays: γ for which it gives the state of rest, decreasing.
        threshold: accuracy on classes never seen that counts as collective.
    """

    dataset: str = "digits"
    samples: int = 10
    num_test: int | None = None
    depths: tuple[int, ...] = (0, 1, 2)
    width: int = 256
    widths: tuple[int, ...] = (64, 128, 512, 1024)
    learning_rate: float = 0.5
    couplings: tuple[float, ...] = _grid(0.01, 1.9, 10)
    cycle_couplings: tuple[float, ...] = _grid(0.05, 5.0, 8)
    num_rounds: int = 2048
    record_every: int = 64
    num_seeds: int = 3
    weight_decay: float = 1e-3
    decay_couplings: tuple[float, ...] = _grid(0.01, 1.9, 8)
    decay_rounds: int = 8192
    num_draws: int = 10
    law_couplings: tuple[float, ...] = _grid(1e-4, 1.9, 44)
    law_rounds: int = 2**20
    weight_decays: tuple[float, ...] = _grid(1e-1, 1e-6, 11)
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("depths", "widths", "couplings", "cycle_couplings", "decay_couplings", "law_couplings"):
            object.__setattr__(self, name, several(name, getattr(self, name), getattr(WideTransition, name)))
        object.__setattr__(self, "weight_decays", several("weight_decays", self.weight_decays, (0.1, 0.01)))
        if 1 not in self.depths or min(self.depths) < 0:
            raise InvalidSpec(
                f"depths={self.depths!r}: graphs, widths and the collapse are compared at D = 1, and depths count "
                "hidden layers. Write depths=(0, 1), say."
            )
        if self.width in self.widths:
            raise InvalidSpec(
                f"widths={self.widths!r} repeats width={self.width}, which is trained anyway. Leave it out."
            )
        for name in ("couplings", "cycle_couplings", "decay_couplings", "law_couplings"):
            self._check_couplings(name)
        whole_number("samples", self.samples, at_least=1, reason="each agent needs data.")
        whole_number("num_seeds", self.num_seeds, at_least=1, reason="each is a common start of all agents.")
        whole_number("num_draws", self.num_draws, at_least=1, reason="each is an initial function.")
        if self.num_rounds % self.record_every:
            raise InvalidSpec(
                f"record_every={self.record_every} does not divide num_rounds={self.num_rounds}: prediction and "
                f"training are compared at the same rounds. Write record_every={max(1, self.num_rounds // 32)}, say."
            )
        if not 0 < self.threshold < 1:
            raise InvalidSpec(f"threshold={self.threshold!r}: it is an accuracy between 0 and 1. Write threshold=0.5.")

    def _check_couplings(self, name: str) -> None:
        values = getattr(self, name)
        graph = self.graph("cycle" if name == "cycle_couplings" else "complete")
        limit = graph.coupling_limit(self.learning_rate)
        if list(values) != sorted(values) or values[0] <= 0 or values[-1] >= limit or len(values) < 2:
            raise InvalidSpec(
                f"{name}={values!r}: these are two couplings or more that increase, on a logarithmic axis, from "
                f"above 0 to below {limit:g}, where coupling on this graph overshoots. Write {name}=({limit / 100:g}, "
                f"{limit / 4:g})."
            )

    def graph(self, name: str) -> graphs.Graph:
        """ "complete" or "cycle", with unit weights."""
        return graphs.complete(NUM_AGENTS) if name == "complete" else graphs.cycle(NUM_AGENTS)

    @property
    def rounds(self) -> np.ndarray:
        """The rounds at which trained and predicted networks are compared."""
        return np.arange(0, self.num_rounds + 1, self.record_every)

    @property
    def spread_couplings(self) -> tuple[float, ...]:
        """Every third coupling: those for which widths are compared."""
        return self.couplings[::-3][::-1]


@dataclass(frozen=True)
class Setting:
    """What is trained, and predicted.

    Attributes:
        depth: D.
        width: of the hidden layers.
        couplings: σ.
        num_rounds: T.
        record_every: rounds between records.
        graph: "complete" or "cycle".
        start: one of `STARTS`.
        weight_decay: γ.
    """

    depth: int
    width: int
    couplings: tuple[float, ...]
    num_rounds: int
    record_every: int
    graph: str = "complete"
    start: str = "common"
    weight_decay: float = 0.0

    @property
    def model(self) -> models.NTKMLP:
        """The network, in NTK parametrisation."""
        return models.ntk_mlp(self.depth, self.width)


def settings(config: WideTransition) -> dict[str, Setting]:
    """All of them, by name."""
    plain = Setting(1, config.width, config.couplings, config.num_rounds, config.record_every)
    found = {
        f"{start},D={depth}": dataclasses.replace(plain, depth=depth, start=start)
        for start in STARTS
        for depth in config.depths
    }
    found["cycle"] = dataclasses.replace(plain, graph="cycle", couplings=config.cycle_couplings)
    for width in config.widths:
        found[f"width={width}"] = dataclasses.replace(plain, width=width, couplings=config.spread_couplings)
    resting = dataclasses.replace(
        plain,
        couplings=config.decay_couplings,
        weight_decay=config.weight_decay,
        num_rounds=config.decay_rounds,
        record_every=config.decay_rounds // 8,
    )
    shallow = [depth for depth in config.depths if depth <= 1]
    return found | {f"decay,D={depth}": dataclasses.replace(resting, depth=depth) for depth in shallow}


def quick() -> WideTransition:
    """Two depths, narrower networks, fewer rounds and seeds: about a minute."""
    return WideTransition(
        depths=(0, 1), width=128, widths=(32,), couplings=_grid(0.03, 1.9, 6), cycle_couplings=_grid(0.5, 5.0, 4),
        num_rounds=512, num_seeds=2, decay_couplings=_grid(0.03, 1.9, 4), decay_rounds=2048, num_draws=3,
        law_couplings=_grid(1e-4, 1.9, 20),
    )  # fmt: skip


def full() -> WideTransition:
    """Wider networks, more rounds and seeds: an hour or more."""
    return WideTransition(width=1024, widths=(64, 128, 256, 512), num_rounds=8192, record_every=256, num_seeds=5)


def for_dataset(config: WideTransition, dataset: str) -> WideTransition:
    """The protocol on another data set: of the digits all are tested, of larger sets 500."""
    return dataclasses.replace(config, dataset=dataset, num_test=None if dataset == "digits" else 500)


def stem(config: WideTransition) -> str:
    """The name of the figure's files."""
    return "wide-transition" if config.dataset == "digits" else f"wide-transition-{config.dataset}"


def load(config: WideTransition, data_dir: str | None = None) -> tuple[tasks.Task, tasks.Shards]:
    """The images with their classes, judged by the squared distance to one-hot targets; and who has which."""
    num_train = NUM_AGENTS * config.samples
    task = tasks.load(config.dataset, data_dir=data_dir, num_train=num_train, num_test=config.num_test)
    task = dataclasses.replace(task, loss=tasks.SquaredLoss())
    return task, tasks.by_class(task, num_agents=NUM_AGENTS)


def sweeps(config: WideTransition, *, data_dir: str | None = None) -> dict[str, Sweep]:
    """All trainings, planned."""
    task, shards = load(config, data_dir)
    return {
        name: resolve_sweep(
            DiffusiveCoupling(learning_rate=config.learning_rate, weight_decay=setting.weight_decay),
            over={"coupling": setting.couplings, "seed": range(config.num_seeds)},
            model=setting.model,
            task=task,
            shards=shards,
            graph=config.graph(setting.graph),
            num_rounds=setting.num_rounds,
            batch_size=None,
            observe=("cross_accuracy", "loss", "consensus_distance"),
            observe_every=setting.record_every,
            common_init=setting.start == "common",
            title=f"wide-transition {config.dataset} {name}",
        )
        for name, setting in settings(config).items()
    }
