"""When agents speak: every k rounds, at random, early, or late. One decision for all links, or for a schedule of W(t).

A trigger is a schedule. Alone it is a schedule of links, `Schedules(edges=EveryRounds(10, num_agents=8))`: all links
work, or none. With `mixing` it is a schedule of W(t), `Schedules(mixing=Late(900, 16, mixing=RandomPairs(graph)))`:
that schedule's weights, or the identity. Triggers of triggers take both decisions.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consilience.errors import InvalidSpec
from consilience.graphs.arguments import count_of_agents, real_number, whole_number
from consilience.graphs.schedules import Schedule
from consilience.randomness import Purpose, check_seed, key

if TYPE_CHECKING:
    import jax


def gated(works: jax.Array, mixing: Schedule | None, round: Any, num_agents: int) -> jax.Array:
    """All links or none, shape (agents, agents); with a schedule of mixing, its W(t) or the identity.

    Example:
        >>> gated(False, None, 0, 2).tolist()
        [[True, False], [False, True]]
    """
    import jax.numpy as jnp

    itself = jnp.eye(num_agents, dtype=bool)
    if mixing is None:
        return works | itself
    weights = mixing(round)
    return jnp.where(works, weights, itself.astype(weights.dtype))


def check_schedule(owner: object, mixing: Schedule | None) -> None:
    """`InvalidSpec` unless `mixing` is a function of the round (or `None`): a matrix alone is none.

    Example:
        >>> check_schedule(None, None)
    """
    if mixing is not None and not callable(mixing):
        raise InvalidSpec(
            f"{type(owner).__name__} got {mixing!r} for a schedule of mixing, which is no function of the round. For "
            "weights that do not change write graphs.Periodic(matrix.weights[None])."
        )


class _Trigger(abc.ABC):
    """What the triggers share: which value follows from the decision of a round."""

    num_agents: int
    mixing: Schedule | None

    def __post_init__(self) -> None:
        count_of_agents(self.num_agents)
        check_schedule(self, self.mixing)

    @abc.abstractmethod
    def works(self, round: Any) -> jax.Array:
        """Shape (): whether agents speak in `round`."""

    def __call__(self, round: Any) -> jax.Array:
        """Shape (agents, agents): links (the diagonal always works), or the weights W(t) if there is a `mixing`."""
        return gated(self.works(round), self.mixing, round, self.num_agents)


@dataclass(frozen=True)
class EveryRounds(_Trigger):
    """All links in every k-th round, no link in the others: rounds k − 1, 2k − 1, …, so that k rounds of learning come
    first, as in local SGD.

    Attributes:
        period: k ≥ 1.
        num_agents: N.
        mixing: the schedule of W(t) that is let through; `None` makes a schedule of links.

    Raises:
        InvalidSpec: if the period is no whole number from 1.

    Example:
        >>> [bool(EveryRounds(3, num_agents=2)(round).all()) for round in range(6)]
        [False, False, True, False, False, True]
    """

    period: int
    num_agents: int
    mixing: Schedule | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("period", self.period, at_least=1, reason="it counts the rounds from one exchange to the next.")

    def works(self, round: Any) -> jax.Array:
        """Shape (): whether the number of rounds so far is a multiple of k."""
        import jax.numpy as jnp

        return (jnp.asarray(round) + 1) % self.period == 0


@dataclass(frozen=True)
class WithProbability(_Trigger):
    """All links with a probability p, else none: one coin for everybody in each round, as in Scaffnew.

    Attributes:
        probability: p in [0, 1].
        num_agents: N.
        seed: of the coin, independent of the run's seed.
        mixing: the schedule of W(t) that is let through; `None` makes a schedule of links.

    Raises:
        InvalidSpec: if the probability is no number from 0 to 1.

    Example:
        >>> bool(WithProbability(1.0, num_agents=3)(7).all())
        True
    """

    probability: float
    num_agents: int
    seed: int = 0
    mixing: Schedule | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seed(self.seed)
        real_number("probability", self.probability, low=0.0, high=1.0, reason="it is the chance of an exchange.")

    def works(self, round: Any) -> jax.Array:
        """Shape (): the coin."""
        import jax
        import jax.numpy as jnp

        # Drawn in single precision, so that runs in either precision see the same rounds.
        return jax.random.uniform(key(self.seed, Purpose.SCHEDULE, round), dtype=jnp.float32) < self.probability


@dataclass(frozen=True)
class Early(_Trigger):
    """All links before a round, none from then on: a budget of messages that is spent early.

    Attributes:
        until: the first round without messages, ≥ 0.
        num_agents: N.
        mixing: the schedule of W(t) that is let through; `None` makes a schedule of links.

    Raises:
        InvalidSpec: if `until` is no whole number from 0.

    Example:
        >>> [bool(Early(2, num_agents=2)(round).all()) for round in range(4)]
        [True, True, False, False]
    """

    until: int
    num_agents: int
    mixing: Schedule | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("until", self.until, at_least=0, reason="it is the first round without messages.")

    def works(self, round: Any) -> jax.Array:
        """Shape (): whether it is early."""
        import jax.numpy as jnp

        return jnp.asarray(round) < self.until


@dataclass(frozen=True)
class Late(_Trigger):
    """No link before a round, all from then on: a budget of messages that is spent late.

    Attributes:
        start: the first round with messages, ≥ 0.
        num_agents: N.
        mixing: the schedule of W(t) that is let through; `None` makes a schedule of links.

    Raises:
        InvalidSpec: if `start` is no whole number from 0.

    Example:
        >>> [bool(Late(2, num_agents=2)(round).all()) for round in range(4)]
        [False, False, True, True]
    """

    start: int
    num_agents: int
    mixing: Schedule | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("start", self.start, at_least=0, reason="it is the first round with messages.")

    def works(self, round: Any) -> jax.Array:
        """Shape (): whether it is late."""
        import jax.numpy as jnp

        return jnp.asarray(round) >= self.start
