"""What is learned by which networks on which graphs, and how they are trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from consilience import graphs, models, tasks
from consilience.algorithms import DGD, AdaptThenCombine, Algorithm, CombineThenAdapt
from consilience.axes import AGENT
from consilience.errors import InvalidSpec
from consilience.experiments import Sweep, resolve_sweep
from consilience.graphs import Graph
from consilience.graphs.arguments import whole_number
from consilience.observables import Observable, Population
from consilience.randomness import Purpose, generator
from consilience.recipes.recipe import several
from consilience.tasks import Shards, Task

if TYPE_CHECKING:
    import jax

GRAPHS: Mapping[str, Callable[[int], Graph]] = MappingProxyType(
    {"cycle": graphs.cycle, "star": graphs.star, "complete": graphs.complete}
)
"""Graphs of the paper, mixed with Metropolis weights."""
ALGORITHMS: Mapping[str, Callable[[float], Algorithm]] = MappingProxyType(
    {
        "dgd": lambda rate: DGD(learning_rate=rate),
        "atc": lambda rate: AdaptThenCombine(learning_rate=rate),
        "cta": lambda rate: CombineThenAdapt(learning_rate=rate),
    }
)
"""By the names under which `theory.peer_to_peer` knows them."""
NAMES: Mapping[str, str] = MappingProxyType({"dgd": "DGD", "atc": "ATC", "cta": "CTA"})
HELD_BY = "held_by"
"""Whose training data a loss is on."""


@dataclass(frozen=True)
class Setting:
    """A task with the kind of network that learns it.

    Attributes:
        label: for people.
        depth: hidden layers; 0 is the affine classifier.
        num_agents: Q.
        graphs: names of `GRAPHS`.
    """

    label: str
    depth: int
    num_agents: int
    graphs: tuple[str, ...]


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "affine": Setting("affine classifier, odd or even", 0, 5, ("complete",)),
        "network": Setting("one hidden layer, odd or even", 1, 5, tuple(GRAPHS)),
        "ten_classes": Setting("two hidden layers, ten classes", 2, 10, tuple(GRAPHS)),
    }
)
"""Figures 1 and 2 of paper 003, and a harder task than the paper's."""


@dataclass(frozen=True)
class Case:
    """One network: what is predicted from one linearisation, and trained on every graph by every algorithm.

    Attributes:
        setting: one of `SETTINGS`.
        width: neurons per hidden layer; 1 for the affine classifier, which has none.
    """

    setting: str
    width: int

    @property
    def label(self) -> str:
        """For tables."""
        found = SETTINGS[self.setting]
        return f"{found.label}, width {self.width}" if found.depth else found.label


@dataclass(frozen=True)
class PeerToPeer:
    """The protocol. Agent q of five holds images of the digits 2q and 2q + 1, and learns which numbers are odd.

    With ten classes, the shards of ten agents are drawn from a Dirichlet distribution, and differ in size.

    Attributes:
        dataset: "mnist", or another data set of ten classes.
        width: neurons of the hidden layer of the networks that are drawn.
        other_widths: of further networks, for the error against the width.
        ten_classes_width: neurons per hidden layer of the network for ten classes.
        samples_per_agent: training images of each agent, half of them of each digit; with ten classes on average.
        num_test: test images; None for all.
        learning_rate: η.
        num_rounds: rounds of full batches.
        observe_every: rounds between two evaluations in training; the prediction has all rounds. With ten classes the
            largest errors come in the first rounds.
        num_realizations: draws of the common initialisation θ⁰.
        weight_variance: σ_w² of the NTK parametrisation.
        bias_variance: σ_b².
        dirichlet_alpha: concentration of the ten-class shards.
        seed: of the shards.
    """

    dataset: str = "mnist"
    width: int = 1024
    other_widths: tuple[int, ...] = (64, 256)
    ten_classes_width: int = 512
    samples_per_agent: int = 20
    num_test: int | None = 200
    learning_rate: float = 0.5
    num_rounds: int = 400
    observe_every: int = 1
    num_realizations: int = 3
    weight_variance: float = 2.0
    bias_variance: float = 0.1
    dirichlet_alpha: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.other_widths != ():
            object.__setattr__(self, "other_widths", several("other_widths", self.other_widths, (64, 256)))
        for name in ("width", "ten_classes_width", "num_rounds", "observe_every", "num_realizations"):
            whole_number(name, getattr(self, name), at_least=1, reason=f"{name} is counted from one.")
        if self.samples_per_agent < 2 or self.samples_per_agent % 2:
            raise InvalidSpec(
                f"samples_per_agent={self.samples_per_agent!r}: every agent has as many images of one digit as of "
                "another. Write an even number, samples_per_agent=20."
            )
        for case in self.cases:
            self.model(case)

    @property
    def cases(self) -> tuple[Case, ...]:
        """All networks, those of odd or even in order of width."""
        widths = sorted({*self.other_widths, self.width})
        networks = [Case("network", width) for width in widths]
        return Case("affine", 1), *networks, Case("ten_classes", self.ten_classes_width)

    def model(self, case: Case) -> models.Model:
        """The network of a case."""
        return models.ntk_mlp(
            SETTINGS[case.setting].depth,
            case.width,
            weight_variance=self.weight_variance,
            bias_variance=self.bias_variance,
        )


def quick() -> PeerToPeer:
    """Digits, narrower networks, a single initialisation: about a minute."""
    small = PeerToPeer(width=256, other_widths=(), ten_classes_width=128, num_rounds=200, num_realizations=1)
    return for_dataset(small, "digits")


def full() -> PeerToPeer:
    """Widths up to 4096: an hour or two, and three gigabytes of stored networks."""
    return PeerToPeer(other_widths=(64, 256, 4096))


def for_dataset(config: PeerToPeer, dataset: str) -> PeerToPeer:
    """`config` on another data set.

    Images other than MNIST's are brighter, and their kernels larger: DGD's largest stable rate with ten classes is
    0.8 on MNIST, 0.5 on Fashion-MNIST and 0.3 on digits and CIFAR-10 (on the cycle).
    """
    return dataclasses.replace(
        config, dataset=dataset, learning_rate=config.learning_rate if dataset == "mnist" else 0.2
    )


def stem(config: PeerToPeer) -> str:
    """The name of the figure's files."""
    return f"peer-to-peer-{config.dataset}"


def two_digits_each(task: Task, num_agents: int, *, samples: int, seed: int) -> Shards:
    """Agent q draws as many samples of each of its classes; its classes follow those of agent q − 1.

    Args:
        task: a classification task.
        num_agents: a divisor of the number of classes.
        samples: per agent, a multiple of its number of classes.
        seed: of the draw.

    Example:
        >>> shards = two_digits_each(tasks.load("digits"), 5, samples=20, seed=0)
        >>> shards.class_counts[1].tolist()
        [0, 0, 10, 10, 0, 0, 0, 0, 0, 0]
    """
    rng = generator(seed, Purpose.PARTITION)
    by_agent = np.arange(task.num_outputs).reshape(num_agents, -1)
    each = samples // by_agent.shape[1]
    parts = [
        np.sort(
            np.concatenate([rng.choice(np.flatnonzero(task.train_labels == c), each, replace=False) for c in classes])
        )
        for classes in by_agent
    ]
    return tasks.from_indices(task, parts, "two digits each")


def task_and_shards(config: PeerToPeer, data_dir: str | None = None) -> dict[str, tuple[Task, Shards]]:
    """Setting → its regression task, and the data of its agents."""
    images = tasks.load(config.dataset, data_dir=data_dir, num_test=config.num_test)
    paired = two_digits_each(images, 5, samples=config.samples_per_agent, seed=config.seed)
    num_agents = SETTINGS["ten_classes"].num_agents
    few = images.subset(num_train=num_agents * config.samples_per_agent, seed=config.seed)
    skewed = tasks.dirichlet(few, num_agents, alpha=config.dirichlet_alpha, seed=config.seed, min_samples=5)
    odd_even = tasks.odd_even(images)
    return {
        "affine": (odd_even, paired),
        "network": (odd_even, paired),
        "ten_classes": (tasks.one_hot(few), skewed),
    }


def shard_losses(task: Task, shards: Shards) -> Observable:
    """L_r(θ_q): the loss of agent q on the training data of agent r, shape (agents, agents).

    Its diagonal is what each agent minimises, its mean over r the objective.

    Example:
        >>> task = tasks.odd_even(tasks.load("digits"))
        >>> shard_losses(task, tasks.iid(task, 10)).dims
        ('agent', 'held_by')
    """
    together = np.concatenate(list(shards))
    inputs, targets = task.train_inputs[together], task.train_labels[together]
    weights = np.repeat(np.eye(len(shards)) / shards.sizes[:, None], shards.sizes, axis=1).T

    def measure(population: Population) -> jax.Array:
        import jax
        import jax.numpy as jnp

        def of_agent(params: models.Params) -> jax.Array:
            return population.loss_function(population.apply(params, jnp.asarray(inputs)), jnp.asarray(targets))

        losses = jax.vmap(of_agent)(population.params)
        return losses @ jnp.asarray(weights, losses.dtype)

    return Observable("shard_losses", (AGENT, HELD_BY), measure, "training loss $L_r(θ_q)$")


def sweeps(config: PeerToPeer, *, data_dir: str | None = None) -> dict[tuple[Case, str, str], Sweep]:
    """All training, planned: (case, graph, algorithm) → sweep over initialisations."""
    data = task_and_shards(config, data_dir)
    planned = {}
    for case in config.cases:
        setting, (task, shards) = SETTINGS[case.setting], data[case.setting]
        for name in setting.graphs:
            graph = GRAPHS[name](setting.num_agents)
            for algorithm, make in ALGORITHMS.items():
                planned[case, name, algorithm] = resolve_sweep(
                    make(config.learning_rate),
                    over={"seed": range(config.num_realizations)},
                    model=config.model(case),
                    task=task,
                    shards=shards,
                    graph=graph,
                    mixing=graphs.metropolis(graph),
                    num_rounds=config.num_rounds,
                    batch_size=None,
                    common_init=True,
                    observe=("loss", shard_losses(task, shards)),
                    observe_every=config.observe_every,
                    title=f"peer-to-peer {config.dataset}, {case.label}, {algorithm} on {name}",
                )
    return planned
