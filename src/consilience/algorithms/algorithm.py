"""The interface that every method implements, once, for one agent.

A round of an algorithm is `num_exchanges` exchanges. In each, every agent first calls `emit`, which may learn and
decides what leaves the agent; then the messages travel; then every agent calls `absorb`, which may learn too and
decides what to make of what arrived. Both are pure functions of one agent's state. The simulator vectorises them over
agents and replicas, the runtime calls them in separate processes, and `run_round` calls them in a plain loop.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs import Graph, MixingMatrix, Schedules, default_mixing
from consilience.messages import Message

if TYPE_CHECKING:
    from consilience.models import Params

State = Any

LEARNER, SERVER = 0, 1
"""Roles. A server holds no data and is left out by the observables."""


class Context(eqx.Module):
    """Who and when an agent is, within one exchange of one round."""

    round: jax.Array
    """Index of the round, from 0."""
    agent: jax.Array
    """Index of this agent."""
    role: jax.Array
    """`LEARNER` or `SERVER`."""
    active: jax.Array
    """Whether this agent takes part in this round."""
    shard_weight: jax.Array
    """Share of all training samples that this agent holds, n_i / Σ_j n_j."""
    degree: jax.Array
    """Σ_j q_ij, the total weight with which this agent listens to others."""
    neighbours: jax.Array
    """Agents that this agent listens to, shape (slots,); unused slots repeat the agent itself."""
    neighbour_mask: jax.Array
    """Which of the slots are used, shape (slots,)."""
    key: jax.Array
    """Random key of (seed, round, agent): this agent's own."""
    shared_key: jax.Array
    """Random key of (seed, round): the same for all agents."""
    num_agents: int = eqx.field(static=True)
    """N, servers included."""
    exchange: int = eqx.field(static=True, default=0)
    """Index of the exchange within the round, from 0."""


class Local(eqx.Module):
    """One agent's private mini-batches of one round: what `emit` and `absorb` may learn from.

    `step` counts local steps within the round, from 0; asking twice for the same step gives the same mini-batch.
    """

    inputs: jax.Array
    """Shape (steps, batch, *features); (1, samples, *features) for a whole shard, which serves every step."""
    targets: jax.Array
    """Shape (steps, batch, ...), or (1, samples, ...)."""
    weights: jax.Array | None
    """Weights of the samples of a whole shard, shape (samples,), summing to 1 and zero on padding; `None` for
    mini-batches, whose samples count the same."""
    apply: Callable[[Params, jax.Array], jax.Array] = eqx.field(static=True)
    loss_function: Callable[[jax.Array, jax.Array], jax.Array] = eqx.field(static=True)

    def loss(self, params: Params, step: int = 0) -> jax.Array:
        """Mean loss of the step's mini-batch at `params` (Eq. (1), as a mean, without weight decay)."""
        if self.weights is not None:
            return jnp.vdot(self.weights, self._losses(params, 0))
        if isinstance(step, int) and not 0 <= step < self.inputs.shape[0]:
            raise InvalidSpec(
                f"The method asked for mini-batch {step}, but draws {self.inputs.shape[0]} per round: its property "
                f"num_local_steps must be at least {step + 1}."
            )
        return self._losses(params, step).mean()

    def _losses(self, params: Params, step: int) -> jax.Array:
        return self.loss_function(self.apply(params, self.inputs[step]), self.targets[step])

    def gradient(self, params: Params, step: int = 0) -> Params:
        """∇ of `loss` at `params`."""
        return jax.grad(self.loss)(params, step)

    def value_and_gradient(self, params: Params, step: int = 0) -> tuple[jax.Array, Params]:
        """`loss` and its gradient at `params`."""
        return jax.value_and_grad(self.loss)(params, step)


class Inbox(eqx.Module):
    """What one agent receives in one exchange, decoded where it travelled in a coded form.

    An algorithm reads what it needs; what no algorithm reads is never computed. A method that emits along its edges
    (`per_edge`) finds `mixed` and `coupled` to be `None`.
    """

    mixed: Message
    """Σ_j w_ij m_j, the agent itself included, with the mixing matrix W."""
    coupled: Message
    """Σ_j q_ij (m_j − m_i), with the graph's weights q."""
    messages: Message
    """Neighbours' messages, each leaf with a leading axis of slots."""
    senders: jax.Array
    """Who sent each of them, shape (slots,)."""
    weights: jax.Array
    """w_ij of each of them, shape (slots,)."""
    mask: jax.Array
    """Which slots hold a message that arrived, shape (slots,)."""


class Algorithm(eqx.Module):
    """Base class of all methods. Subclasses implement `init`, `emit`, `absorb` and `params`.

    Array-valued hyper-parameters (rates, couplings) are plain fields, so that a sweep can stack them; what changes the
    structure of the computation (numbers of steps, periods) is a static field.
    """

    num_exchanges: ClassVar[int] = 1
    """Exchanges per round."""
    has_implied_server: ClassVar[bool] = False
    """Whether what agents emit is put together by a server that is not an agent, and sent back: an agent then sends one
    message per exchange, whatever its number of neighbours, and receives one."""
    requires: ClassVar[tuple[str, ...]] = ()
    """What the graph and the mixing matrix must offer: names of `REQUIREMENTS`."""
    per_edge: ClassVar[bool] = False
    """Whether `emit` returns one message per neighbour slot (leaves with a leading axis of slots)."""
    reads_mixing: ClassVar[bool] = True
    """Whether it uses the mixing matrix. False: one that is given for a run changes nothing, and is warned of."""
    starts_together: ClassVar[bool] = False
    """Whether all agents must start from the same parameters, since they move by the same steps from there on."""
    manages_absence: ClassVar[bool] = False
    """False: the simulator keeps the state of inactive agents and drops their links. True: inactive agents take part
    like all others, and the method itself reads `context.active` (FedAvg, whose broadcast reaches everyone)."""

    @property
    def num_local_steps(self) -> int:
        """Mini-batches that the method draws per round."""
        return 1

    @abc.abstractmethod
    def init(self, params: Params, context: Context) -> State:
        """The state of an agent that starts from `params`."""

    @abc.abstractmethod
    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn if it is time to; return the new state and what leaves the agent."""

    @abc.abstractmethod
    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Make use of what arrived; learn if it is time to; return the new state."""

    @abc.abstractmethod
    def params(self, state: State) -> Params:
        """The parameters by which the agent is judged."""

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The mixing matrix that is used when none is given."""
        return default_mixing(graph)

    def broadcast(self, total: Message, context: Context) -> Message:
        """What an implied server sends back of the sum of messages; as it is by default."""
        return total

    def warnings(self, graph: Graph, mixing: MixingMatrix) -> list[str]:
        """What is allowed but will probably not end well, one paragraph each."""
        return []


def _needs_doubly_stochastic(graph: Graph, mixing: MixingMatrix, schedules: Schedules) -> str | None:
    if mixing.is_doubly_stochastic:
        return None
    return (
        f"the mixing matrix {mixing.name!r} is not doubly stochastic, so mixing moves the population's mean. Use an "
        "undirected graph with cs.graphs.metropolis(graph), or a method made for directed graphs"
    )


def _needs_column_stochastic(graph: Graph, mixing: MixingMatrix, schedules: Schedules) -> str | None:
    if mixing.is_column_stochastic:
        return None
    return (
        f"the columns of the mixing matrix {mixing.name!r} do not sum to one, so mass is not conserved. Use "
        "mixing=cs.graphs.column_stochastic(graph)"
    )


def _needs_undirected(graph: Graph, mixing: MixingMatrix, schedules: Schedules) -> str | None:
    return f"{graph.name!r} is directed. Use an undirected graph, cs.graphs.cycle(n), say" if graph.directed else None


def _needs_complete(graph: Graph, mixing: MixingMatrix, schedules: Schedules) -> str | None:
    if graph.uniform_weight is not None or graph.num_agents == 1:
        return None
    return (
        f"{graph.name!r} is not the complete graph, and the method averages over everybody. Use "
        f"cs.graphs.complete({graph.num_agents}), or cs.algorithms.AdaptThenCombine(local_steps=...) to average over "
        "neighbours"
    )


def _needs_tree(graph: Graph, mixing: MixingMatrix, schedules: Schedules) -> str | None:
    if not graph.directed and graph.is_connected and graph.num_edges == graph.num_agents - 1:
        return None
    return (
        f"{graph.name!r} has {graph.num_edges} links among {graph.num_agents} agents and is no tree, so that what is "
        "relayed would arrive more than once, or not at all. Use cs.graphs.path(n) or cs.graphs.star(n), or a spanning "
        "tree, cs.graphs.from_networkx(networkx.minimum_spanning_tree(...))"
    )


def _needs_reliable(graph: Graph, mixing: MixingMatrix, schedules: Schedules) -> str | None:
    changing = [name for name in ("active", "edges", "mixing") if getattr(schedules, name) is not None]
    if not changing:
        return None
    return (
        f"the schedule of {changing[0]} lets messages be missed, and the copies that agents keep of each other would "
        "no longer be the same on both sides. Leave it out, or use a method whose messages stand alone, "
        "cs.algorithms.AdaptThenCombine(...)"
    )


REQUIREMENTS: dict[str, Callable[[Graph, MixingMatrix, Schedules], str | None]] = {
    "doubly_stochastic": _needs_doubly_stochastic,
    "column_stochastic": _needs_column_stochastic,
    "undirected": _needs_undirected,
    "complete": _needs_complete,
    "tree": _needs_tree,
    "reliable": _needs_reliable,
}
"""Name → function of graph, mixing matrix and schedules that says what is missing and the way out, or `None`."""


def check_pair(algorithm: Algorithm, graph: Graph, mixing: MixingMatrix, schedules: Schedules | None = None) -> None:
    """Refuse a graph, mixing matrix or schedule that the algorithm cannot work with.

    Raises:
        IncompatiblePair: with the reason and the way out.
    """
    # What an agent emits to a neighbour needs a slot of that neighbour's inbox, so along-edge methods need both ways.
    implied = ("undirected",) if algorithm.per_edge else ()
    for name in (*algorithm.requires, *implied):
        reason = REQUIREMENTS[name](graph, mixing, schedules or Schedules())
        if reason is not None:
            raise IncompatiblePair(f"{type(algorithm).__name__} cannot run here: {reason}.")


def regularised(gradient: Params, params: Params, weight_decay: Any) -> Params:
    """∇(L + γ‖θ‖²) = ∇L + 2γθ, the gradient of Eq. (1) with its weight decay γ."""
    return jax.tree.map(lambda g, theta: g + 2 * weight_decay * theta, gradient, params)


def descend(params: Params, gradient: Params, learning_rate: Any) -> Params:
    """θ − η g."""
    return jax.tree.map(lambda theta, g: theta - learning_rate * g, params, gradient)


def local_sgd(params: Params, local: Local, *, learning_rate: Any, weight_decay: Any, num_steps: int) -> Params:
    """`num_steps` steps of SGD on the agent's own mini-batches."""
    for step in range(num_steps):
        params = descend(params, regularised(local.gradient(params, step), params, weight_decay), learning_rate)
    return params
