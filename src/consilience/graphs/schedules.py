"""What may change from round to round: who takes part, which links work, how strongly, in which role.

A schedule is a pure function of the round, traced by JAX inside the loop over rounds. Schedules are frozen and hold
plain values, so that they are part of a run's identity; any frozen dataclass with `__call__(round)` is one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from consilience.errors import InvalidSpec
from consilience.randomness import Purpose, check_seed, key

if TYPE_CHECKING:
    import jax


class Schedule(Protocol):
    """A pure function of the round."""

    def __call__(self, round: jax.Array) -> jax.Array:
        """The value in `round`, counted from 0."""
        ...


@dataclass(frozen=True, eq=False)
class Periodic:
    """`values[round mod period]`: repeats a table, or plays it once if it is as long as the run.

    Attributes:
        values: shape (period, ...): (period, agents) for activity or roles, (period, agents, agents) for links or
            weights.

    Example:
        >>> import numpy as np
        >>> alternate = Periodic(np.array([[True, False], [False, True]]))
        >>> alternate(3).tolist()
        [False, True]
    """

    values: Any

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim < 2 or values.shape[0] == 0:
            raise InvalidSpec(
                f"Periodic got values of shape {values.shape}; the first axis counts rounds and the second agents. "
                "Write Periodic(table) with a table of shape (period, agents) or (period, agents, agents)."
            )
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __call__(self, round: jax.Array) -> jax.Array:
        """The row of the table for `round`."""
        import jax.numpy as jnp

        return jnp.asarray(self.values)[round % self.values.shape[0]]


@dataclass(frozen=True)
class Bernoulli:
    """Independent coin tosses in each round: activity of agents, or (`links=True`) of links, the same both ways.

    Attributes:
        probability: chance that an agent, or a link, is active in a round.
        num_agents: N.
        seed: of the coin, independent of the run's seed.
        links: toss for links, not for agents; the diagonal is always active.

    Example:
        >>> bool(Bernoulli(1.0, num_agents=4)(7).all())
        True
    """

    probability: float
    num_agents: int
    seed: int = 0
    links: bool = False

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0 <= self.probability <= 1:
            raise InvalidSpec(f"Bernoulli(probability={self.probability}): a probability lies between 0 and 1.")

    def __call__(self, round: jax.Array) -> jax.Array:
        """Shape (agents,), or (agents, agents) for links."""
        import jax
        import jax.numpy as jnp

        n = self.num_agents
        shape = (n, n) if self.links else (n,)
        # Drawn in single precision, so that runs in either precision see the same agents and links.
        uniform = jax.random.uniform(key(self.seed, Purpose.SCHEDULE, round), shape, dtype=jnp.float32)
        draws = uniform < self.probability
        if not self.links:
            return draws
        upper = jnp.triu(draws, 1)
        return upper | upper.T | jnp.eye(n, dtype=bool)


@dataclass(frozen=True)
class RandomSubset:
    """Exactly `num_active` of the agents, drawn afresh in each round: the partial participation of FedAvg.

    Attributes:
        num_active: how many take part in each round.
        num_agents: N.
        seed: of the draw, independent of the run's seed.
        always: agents that take part in every round besides (a server).

    Example:
        >>> int(RandomSubset(3, num_agents=10)(0).sum())
        3
    """

    num_active: int
    num_agents: int
    seed: int = 0
    always: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0 <= self.num_active <= self.num_agents - len(self.always):
            raise InvalidSpec(
                f"RandomSubset(num_active={self.num_active}, num_agents={self.num_agents}, always={self.always}): it "
                f"can draw between 0 and {self.num_agents - len(self.always)} agents."
            )

    def __call__(self, round: jax.Array) -> jax.Array:
        """Shape (agents,)."""
        import jax
        import jax.numpy as jnp

        scores = jax.random.uniform(key(self.seed, Purpose.SCHEDULE, round), (self.num_agents,), dtype=jnp.float32)
        always = jnp.zeros(self.num_agents, bool).at[jnp.asarray(self.always, int)].set(True)
        ranks = jnp.argsort(jnp.argsort(jnp.where(always, 2.0, scores)))
        return always | (ranks < self.num_active)


@dataclass(frozen=True)
class Absent:
    """Some agents never take part.

    Attributes:
        agents: who stays away.
        num_agents: N.
        among: the schedule of the others; they always take part without one.

    Example:
        >>> Absent((1,), num_agents=3)(0).tolist()
        [True, False, True]
    """

    agents: tuple[int, ...]
    num_agents: int
    among: Schedule | None = None

    def __post_init__(self) -> None:
        if not all(0 <= agent < self.num_agents for agent in self.agents):
            raise InvalidSpec(
                f"Absent(agents={self.agents}, num_agents={self.num_agents}): agents are numbered 0 … "
                f"{self.num_agents - 1}."
            )

    def __call__(self, round: jax.Array) -> jax.Array:
        """Shape (agents,)."""
        import jax.numpy as jnp

        present = jnp.ones(self.num_agents, bool).at[jnp.asarray(self.agents, int)].set(False)
        return present if self.among is None else present & self.among(round)


@dataclass(frozen=True)
class Interpolated:
    """A number that follows a table: linear between its entries, constant before the first and after the last.

    Time-dependent coupling is σ(t) = σ · f(t) with the factor f from such a table. The theory reads the same table at
    times that are not whole rounds.

    Attributes:
        rounds: where the table has entries, strictly increasing, shape (entries,); kept as a tuple of floats.
        values: the values there, ≥ 0, shape (entries,); kept as a tuple of floats.

    Raises:
        InvalidSpec: if the two differ in length or are empty, if a number is not finite or a value negative, or if
            rounds do not increase.

    Example:
        >>> ramp = Interpolated(rounds=(0, 100), values=(0.0, 1.0))
        >>> [float(ramp(round)) for round in (0, 50, 1000)]
        [0.0, 0.5, 1.0]
    """

    rounds: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        rounds, values = _numbers("rounds", self.rounds), _numbers("values", self.values)
        if len(rounds) != len(values):
            raise InvalidSpec(
                f"Interpolated got {len(rounds)} rounds and {len(values)} values; a table has one value per round. "
                "Write Interpolated(rounds=(0, 100), values=(0.0, 1.0)), say."
            )
        for before, after in itertools.pairwise(rounds):
            if after <= before:
                raise InvalidSpec(
                    f"Interpolated(rounds={rounds}): round {after:g} does not come after round {before:g}, so there is "
                    "no telling which value holds between them. Sort the table by round, and give each round once; for "
                    "a step write two rounds next to each other, (99, 100)."
                )
        if min(values) < 0:
            raise InvalidSpec(
                f"Interpolated(values={values}): {min(values):g} is negative, and a negative coupling pushes agents "
                "apart without bound. Write 0 to switch it off."
            )
        object.__setattr__(self, "rounds", rounds)
        object.__setattr__(self, "values", values)

    def __call__(self, round: jax.Array | float) -> jax.Array:
        """Shape (): the value in `round`, which may lie between two rounds."""
        import jax.numpy as jnp

        dtype = jnp.result_type(float)
        return jnp.interp(jnp.asarray(round, dtype), jnp.asarray(self.rounds, dtype), jnp.asarray(self.values, dtype))


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    """`given` as a tuple of finite floats, one at least."""
    try:
        array = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        array = np.asarray(np.nan)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InvalidSpec(
            f"Interpolated({name}={given!r}): {name} is one row of finite numbers with one entry at least. Write "
            "Interpolated(rounds=(0, 100), values=(0.0, 1.0)), say."
        )
    return tuple(array.tolist())


@dataclass(frozen=True)
class Schedules:
    """All that changes with the round. What is `None` does not.

    Attributes:
        active: round → (agents,) bool. Inactive agents keep their state, unless the method manages absence itself.
        edges: round → (agents, agents) bool, entry (i, j) for the message from j to i.
        mixing: round → (agents, agents), W(t) in place of the mixing matrix.
        adjacency: round → (agents, agents), q(t) in place of the graph's weights; its links must be links of the graph.
        roles: round → (agents,) int, `algorithms.LEARNER` or `SERVER`.
        coupling: round → (), a factor on the coupling σ: what arrives as Σ_j q_ij (m_j − m_i) is multiplied by it, so
            that σ(t) = σ · factor(t). Methods that take Σ_j w_ij m_j instead do not feel it, and warnings of
            instability are for a factor of 1.
    """

    active: Schedule | None = None
    edges: Schedule | None = None
    mixing: Schedule | None = None
    adjacency: Schedule | None = None
    roles: Schedule | None = None
    # Came after runs had been stored, whose identity must stay what it was.
    coupling: Schedule | None = field(default=None, metadata={"omit_default_from_identity": True})
