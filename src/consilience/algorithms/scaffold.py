"""SCAFFOLD: federated averaging with control variates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.parameters_as_state import GradientMethod
from consilience.algorithms.validation import check_non_negative, check_positive_int
from consilience.graphs import Graph, MixingMatrix, uniform
from consilience.messages import Weighted

if TYPE_CHECKING:
    from consilience.models import Params


class Scaffold(GradientMethod):
    """SCAFFOLD: local steps from a global model, each corrected by how the agent's gradients differ from the mean.

    The server is implicit: every agent holds the global model θ and the global control c, and the broadcast reaches
    inactive agents too, which neither learn nor send. An agent's own control c_i is the mean of the gradients along its
    last local steps (option II of the paper).

    Update rule:
        θ_i = `local_steps` steps θ_i ← θ_i − η (∇(L_i + γ‖θ_i‖²) − c_i + c) from θ ;
        c_i' = the mean of the gradients in these steps, which is c_i − c + (θ − θ_i)/(η `local_steps`) ;
        θ ← θ + η_g mean_{i active} (θ_i − θ) ;  c ← c + Σ_{i active} (c_i' − c_i)/N ;  c_i ← c_i' where active
    Reduces to:
        `FederatedAveraging` with equal shards in its first round; the same in all rounds with one step while all are
        active; SGD at N = 1.
    Cost:
        two models up and two down per active agent and round; `local_steps` gradients; two more models in an agent's
        memory.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        the control of an agent that rarely takes part is old. The minimum that it finds is that of the mean of the
        agents' losses, each counted once, not by the size of its shard.
    Source:
        S. P. Karimireddy et al., SCAFFOLD: stochastic controlled averaging for federated learning, ICML 2020,
        Algorithm 1 with option II [karimireddy2020].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two averages.
        server_rate: η_g, how far the global model goes towards the mean of the participants; 1 reaches it.

    Example:
        >>> Scaffold(learning_rate=0.1, local_steps=10).num_local_steps
        10
    """

    manages_absence = True
    has_implied_server = True
    starts_together = True
    requires = ("complete",)

    local_steps: int = eqx.field(static=True, default=1)
    server_rate: Any = 1.0

    def __check_init__(self) -> None:
        check_non_negative(self, server_rate=self.server_rate)
        check_positive_int(self, local_steps=self.local_steps)

    @property
    def num_local_steps(self) -> int:
        """Steps per round."""
        return self.local_steps

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The plain mean."""
        return uniform(graph.num_agents)

    def init(self, params: Params, context: Context) -> State:
        """The global model, and controls that correct nothing yet."""
        zeros = jax.tree.map(jnp.zeros_like, params)
        return {"params": params, "control": zeros, "global_control": zeros}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn with corrected gradients; send how far the model and the control moved, or 0 when not active."""
        start, control = state["params"], state["control"]
        correction = jax.tree.map(jnp.subtract, state["global_control"], control)
        params, total = start, jax.tree.map(jnp.zeros_like, start)
        for step in range(self.local_steps):
            gradient = self.gradient(params, local, step)
            total = jax.tree.map(jnp.add, total, gradient)
            params = descend(params, jax.tree.map(jnp.add, gradient, correction), self.learning_rate)
        mean = jax.tree.map(lambda sum_: sum_ / self.local_steps, total)
        new = jax.tree.map(lambda own, c: jnp.where(context.active, own, c), mean, control)
        moved = jax.tree.map(jnp.subtract, (params, new), (start, control))
        weight = jnp.where(context.active, 1, 0).astype(jnp.result_type(*jax.tree.leaves(start)))
        return {**state, "control": new}, Weighted(moved, weight)

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Move the global model by the mean over participants, and the global control by their share of all agents."""
        (moved, control_moved), share = inbox.mixed
        rate = self.server_rate / jnp.where(share > 0, share, 1)
        return {
            **state,
            "params": jax.tree.map(lambda theta, sum_: theta + rate * sum_, state["params"], moved),
            "global_control": jax.tree.map(jnp.add, state["global_control"], control_moved),
        }
