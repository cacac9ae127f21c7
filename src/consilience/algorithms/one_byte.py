"""One byte per gradient: what shared random numbers make of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Algorithm, Context, Inbox, Local, Message, State
from consilience.algorithms.validation import check_non_negative, check_positive_int
from consilience.errors import InvalidSpec
from consilience.graphs import Graph, MixingMatrix, uniform
from consilience.randomness import Purpose, key

if TYPE_CHECKING:
    from consilience.models import Params

_LARGEST = 127


class JustOneByte(Algorithm):
    """Just One Byte: agents send the slopes of their losses along random directions that all can draw again.

    Directions are of ±1 and slopes whole numbers, so that what all agents have summed is a whole number per parameter,
    exact in any order: replicas are the same to the last bit, on any machines.

    Update rule:
        ρ_i = [L_i(θ + εz_i) − L_i(θ − εz_i)] / 2ε ;  b_i = ρ_i / unit, rounded and cut back to ±127 ;
        θ ← θ − (η · unit / N) Σ_i b_i z_i, with z_i = ±1 per parameter, drawn from (round, agent)
    Reduces to:
        SPSA at N = 1 with the exact slope; SGD along z_i as ε → 0, exactly so at any ε for quadratic losses.
    Cost:
        one byte per edge and round; two losses, no gradient. N directions to draw per agent and round.
    Assumes:
        the complete graph, and every message; common initial parameters; a η that does not change.
    Known limits:
        the variance of the slope grows with the number of parameters: for fine-tuning, with a small η. Slopes beyond
        127 units are cut back, and those below half a unit vanish.
    Source:
        E. Zelikman, Q. Huang, P. Liang, N. Haber and N. D. Goodman, Just one byte (per gradient): a note on
        low-bandwidth decentralized language model finetuning using shared randomness, arXiv:2306.10015
        [zelikman2023]; J. C. Spall, Multivariate stochastic approximation using a simultaneous perturbation gradient
        approximation, IEEE Trans. Automatic Control 1992 [spall1992].

    Attributes:
        learning_rate: η > 0, per round.
        probe: ε > 0, how far along a direction the loss is looked at.
        unit: slope that the byte 1 stands for.
        exact: whether slopes travel as they are instead, in four bytes or eight.
        log_rounds: rounds of which the bytes of all agents are kept, from the first on: what a late joiner needs.

    Example:
        >>> JustOneByte(learning_rate=1e-4, unit=0.1).exact
        False
    """

    requires = ("complete", "reliable")
    reads_mixing = False
    starts_together = True

    learning_rate: Any
    probe: Any = 1e-3
    unit: Any = 0.05
    exact: bool = eqx.field(static=True, default=False)
    log_rounds: int = eqx.field(static=True, default=0)

    def __check_init__(self) -> None:
        check_non_negative(self, learning_rate=self.learning_rate, probe=self.probe, unit=self.unit)
        if self.log_rounds:
            check_positive_int(self, log_rounds=self.log_rounds)
        if self.log_rounds and self.exact:
            raise InvalidSpec(
                "JustOneByte(exact=True, log_rounds=…): a log is one of bytes, and exact slopes are numbers. Leave "
                "log_rounds out."
            )

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The plain mean, which is not used: bytes are added up as whole numbers."""
        return uniform(graph.num_agents)

    def init(self, params: Params, context: Context) -> State:
        """Where all start, what all have summed since, the byte that was sent, and the log."""
        return {
            "start": params,
            "summed": jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, self._slope_dtype(leaf)), params),
            "sent": jnp.zeros((), self._message_dtype(params)),
            "log": jnp.zeros((self.log_rounds, context.num_agents), jnp.int8),
        }

    def _slope_dtype(self, leaf: Any) -> Any:
        return leaf.dtype if self.exact else jnp.int32

    def _message_dtype(self, params: Params) -> Any:
        return jax.tree.leaves(params)[0].dtype if self.exact else jnp.int8

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """The slope along one's own direction."""
        params = self.params(state)
        direction = _direction(context.shared_key, context.agent, params)
        ahead, behind = (
            local.loss(jax.tree.map(lambda theta, z, e=e: theta + e * z.astype(theta.dtype), params, direction))
            for e in (self.probe, -self.probe)
        )
        slope = (ahead - behind) / (2 * self.probe)
        if not self.exact:
            slope = jnp.clip(jnp.round(slope / self.unit), -_LARGEST, _LARGEST)
        sent = slope.astype(state["sent"].dtype)
        return {**state, "sent": sent}, sent

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Add up everybody's slope times everybody's direction, agent by agent."""
        slopes = jnp.zeros(context.num_agents, state["sent"].dtype).at[context.agent].set(state["sent"])
        # Unused slots are put beyond the end, where nothing is written.
        places = jnp.where(inbox.mask, inbox.senders, context.num_agents)
        slopes = slopes.at[places].set(inbox.messages.astype(slopes.dtype), mode="drop")
        log = state["log"]
        if self.log_rounds:
            log = log.at[context.round].set(slopes, mode="drop")
        return {**state, "summed": _add_up(state["summed"], slopes, context.shared_key), "log": log}

    def params(self, state: State) -> Params:
        """The start, minus η over N times what was summed."""
        num_agents = state["log"].shape[-1]

        def moved(start: jax.Array, summed: jax.Array) -> jax.Array:
            # In the dtype of the parameters, so that whoever rebuilds them rounds as the agents do.
            rate, unit = (jnp.asarray(value, start.dtype) for value in (self.learning_rate, self.unit))
            return start - rate * (1 if self.exact else unit) / num_agents * summed.astype(start.dtype)

        return jax.tree.map(moved, state["start"], state["summed"])


def replay(algorithm: JustOneByte, params: Params, log: Any, *, seed: int) -> Params:
    """The parameters after some rounds, rebuilt from the start and the bytes of all agents: what a late joiner does.

    Args:
        algorithm: the method, with a unit.
        params: where all agents started.
        log: the bytes, from round 0 on, shape (rounds, agents).
        seed: of the run, from which directions are drawn.

    Returns:
        What the agents hold after these rounds, to the last bit.

    Example:
        >>> import jax.numpy as jnp
        >>> method = JustOneByte(learning_rate=0.5, unit=1.0)
        >>> start = {"w": jnp.zeros(2, jnp.float32)}
        >>> replay(method, start, jnp.zeros((3, 2), jnp.int8), seed=0)["w"].tolist()
        [0.0, 0.0]
    """
    log = jnp.asarray(log)

    def one_round(summed: Any, now: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        round, slopes = now
        return _add_up(summed, slopes, key(seed, Purpose.SHARED, round)), None

    nothing = jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), jnp.int32), params)
    summed, _ = jax.lax.scan(one_round, nothing, (jnp.arange(len(log)), log))
    start = jax.tree.map(jnp.asarray, params)
    # Compiled, since a product that is followed by a difference may be rounded once then, and twice otherwise.
    return eqx.filter_jit(algorithm.params)({"start": start, "summed": summed, "log": log})


def _direction(shared_key: jax.Array, agent: Any, like: Params) -> Params:
    """±1 for each parameter, of round and agent: int8."""
    own = jax.random.fold_in(shared_key, agent)
    leaves, structure = jax.tree.flatten(like)

    def drawn(index: int, shape: tuple[int, ...]) -> jax.Array:
        size = math.prod(shape)
        random = jax.random.bits(jax.random.fold_in(own, index), (-(-size // 8),), jnp.uint8)
        return (2 * jnp.unpackbits(random, count=size).astype(jnp.int8) - 1).reshape(shape)

    return structure.unflatten([drawn(index, leaf.shape) for index, leaf in enumerate(leaves)])


def _add_up(summed: Params, slopes: jax.Array, shared_key: jax.Array) -> Params:
    """Σ_i b_i z_i, one agent after the other, on top of what was summed."""
    for agent in range(slopes.shape[0]):
        direction = _direction(shared_key, agent, summed)
        summed = jax.tree.map(
            lambda total, z, agent=agent: total + slopes[agent].astype(total.dtype) * z.astype(total.dtype),
            summed,
            direction,
        )
    return summed
