"""Parallel SGD: everybody averages gradients, or directions, and takes the same step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.optimisers import Optimiser, Plain
from consilience.algorithms.parameters_as_state import GradientMethod
from consilience.algorithms.validation import check_non_negative
from consilience.graphs import Graph, MixingMatrix, uniform
from consilience.messages import Compressor, Identity, Memory, NoMemory, decode

if TYPE_CHECKING:
    from consilience.models import Params


class ParallelSGD(GradientMethod):
    """Gradients go to a server, compressed or not; their mean comes back, and all agents take the same step.

    The server is implicit: it sums what agents send, and may compress the mean once more before it sends that back.
    Compressed gradients, sign votes and distributed optimisers are choices of its slots.

    Update rule:
        u_i = local(∇(L_i + γ‖θ‖²)) ;  U = B(Σ_i C(u_i) / N) ;  θ ← θ − η (optimiser(U) + λθ), with the compressors C
        (of agents) and B (of the server)
    Reduces to:
        SGD on the union of all mini-batches in its plain form; `AdaptThenCombine` with W = 11ᵀ/N in its plain form from
        common parameters; SGD at N = 1.
    Cost:
        one compressed gradient up and one mean down per agent and round; one gradient.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters; a compressor that is unbiased, or
        a memory.
    Known limits:
        one exchange per gradient; agents that start apart stay apart.
    Source:
        D. Alistarh et al., QSGD: communication-efficient SGD via gradient quantization and encoding, NeurIPS 2017,
        Algorithm 1 [alistarh2017], for the form with an unbiased compressor.

    Attributes:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        decoupled_decay: λ ≥ 0: how fast parameters shrink beside what the optimiser says, as in AdamW.
        local: an agent's optimiser, before it sends; plain by default.
        compressor: of what an agent sends.
        memory: what an agent keeps of what the compressor left out.
        broadcast_compressor: of the mean that comes back.
        optimiser: everybody's optimiser, of the mean.

    Example:
        >>> from consilience.messages import QSGD
        >>> ParallelSGD(learning_rate=0.1, compressor=QSGD(levels=7)).compressor
        QSGD(levels=7)
    """

    has_implied_server = True
    starts_together = True

    decoupled_decay: Any = 0.0
    local: Optimiser = Plain()
    compressor: Compressor = Identity()
    memory: Memory = NoMemory()
    broadcast_compressor: Compressor = Identity()
    optimiser: Optimiser = Plain()

    def __check_init__(self) -> None:
        check_non_negative(self, decoupled_decay=self.decoupled_decay)

    @property
    def requires(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Everybody hears everybody; some memories need every message."""
        return ("complete", "reliable") if self.memory.needs_every_message else ("complete",)

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The plain mean."""
        return uniform(graph.num_agents)

    def init(self, params: Params, context: Context) -> State:
        """Parameters, optimisers that have seen no gradient, and an empty memory."""
        return {
            "params": params,
            "local": self.local.init(params),
            "memory": self.memory.init(params),
            "optimiser": self.optimiser.init(params),
        }

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Send what the agent's optimiser makes of its gradient."""
        params = state["params"]
        gradient = self.gradient(params, local)
        direction, of_local = self.local.direction(gradient, state["local"], params)
        memory, message = self.memory.send(state["memory"], direction, self.compressor, context.key)
        return {**state, "local": of_local, "memory": memory}, message

    def broadcast(self, total: Message, context: Context) -> Message:
        """The mean, compressed by the server; with a key that all share, so that all receive the same."""
        return self.broadcast_compressor.compress(total, context.shared_key)

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Take the step that all agents take."""
        memory, mean = self.memory.receive(state["memory"], inbox.mixed)
        received = decode(self.broadcast(mean, context))
        params = state["params"]
        direction, optimiser = self.optimiser.direction(received, state["optimiser"], params)

        def step(theta: jax.Array, d: jax.Array) -> jax.Array:
            return theta - self.learning_rate * (d + self.decoupled_decay * theta)

        return {**state, "params": jax.tree.map(step, params, direction), "memory": memory, "optimiser": optimiser}
