"""Federated averaging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.optimisers import Optimiser, Plain
from consilience.algorithms.parameters_as_state import LocalSteps
from consilience.graphs import Graph, MixingMatrix, uniform
from consilience.messages import Compressor, Identity, Memory, NoMemory, Weighted

if TYPE_CHECKING:
    from consilience.models import Params

_NEW = {"omit_default_from_identity": True}  # came after runs had been stored, whose identity must stay what it was


class FederatedAveraging(LocalSteps):
    """FedAvg: local steps from a global model, then the mean of the participants weighted by their shard sizes.

    The server is implicit: every agent holds the global model, and the broadcast reaches inactive agents too, which
    neither learn nor send (they would download the same model when they next take part). What travels is how far an
    agent has moved; what the server does with the mean of that is a slot.

    Update rule:
        θ ← θ + Σ_{i active} n_i (θ_i − θ) / Σ_{i active} n_i,  θ_i = `local_steps` steps from θ on agent i's shard
    Reduces to:
        `AdaptThenCombine` with W = 11ᵀ/N when all agents are active and shards are equal; SGD on the union of all
        mini-batches with one step; SGD at N = 1.
    Cost:
        one model up and one down per active agent and round; `local_steps` gradients.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        client drift on heterogeneous shards when `local_steps` > 1.
    Source:
        H. B. McMahan et al., Communication-efficient learning of deep networks from decentralized data, AISTATS 2017,
        Algorithm 1 [mcmahan2017]; reference [26] of paper 001.

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two averages.
        optimiser: of the local steps; forgets everything between rounds, as participants do.
        compressor: of what travels up.
        memory: what agents keep of what the compressor left out.
        server: the server's optimiser, for which the mean of −(θ_i − θ) is a gradient; plain by default.
        server_rate: the server's learning rate; 1 keeps the mean.

    Example:
        >>> FederatedAveraging(learning_rate=0.1, local_steps=10).num_local_steps
        10
    """

    manages_absence = True
    has_implied_server = True
    starts_together = True

    compressor: Compressor = eqx.field(default=Identity(), metadata=_NEW)
    memory: Memory = eqx.field(default=NoMemory(), metadata=_NEW)
    server: Optimiser = eqx.field(default=Plain(), metadata=_NEW)
    server_rate: Any = eqx.field(default=1.0, metadata=_NEW)

    @property
    def requires(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Everybody hears everybody; some memories need every message."""
        return ("complete", "reliable") if self.memory.needs_every_message else ("complete",)

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The plain mean; shard sizes travel with the messages."""
        return uniform(graph.num_agents)

    def init(self, params: Params, context: Context) -> State:
        """The global model, the memory of one's own messages, and a server that has seen nothing."""
        return {"params": params, "memory": self.memory.init(params), "server": self.server.init(params)}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn from the global model; send θ_i − θ with the weight n_i, or 0 when not active."""
        start = state["params"]
        learned, _ = self.learn(start, self.optimiser.init(start), local)
        moved = jax.tree.map(jnp.subtract, learned, start)
        memory, message = self.memory.send(state["memory"], moved, self.compressor, context.key)
        memory = jax.tree.map(lambda new, old: jnp.where(context.active, new, old), memory, state["memory"])
        weight = jnp.where(context.active, context.shard_weight, 0)
        return {**state, "memory": memory}, Weighted(message, weight)

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Move by the weighted mean of those who took part, or not at all if nobody did."""
        total, weight = inbox.mixed
        mean = jax.tree.map(lambda sum_: sum_ / jnp.where(weight > 0, weight, 1), total)
        memory, moved = self.memory.receive(state["memory"], mean)
        backwards = jax.tree.map(jnp.negative, moved)
        direction, server = self.server.direction(backwards, state["server"], state["params"])
        new = {"params": descend(state["params"], direction, self.server_rate), "memory": memory, "server": server}
        return jax.tree.map(lambda moved, stays: jnp.where(weight > 0, moved, stays), new, state)
