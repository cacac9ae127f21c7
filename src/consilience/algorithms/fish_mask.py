"""Fixed sparse masks: only the parameters with the largest Fisher information learn and travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.parameters_as_state import LocalSteps
from consilience.algorithms.reparametrised import reparametrised
from consilience.algorithms.validation import check_positive_int
from consilience.errors import InvalidSpec
from consilience.graphs import Graph, MixingMatrix, uniform
from consilience.messages.compressors import num_kept

if TYPE_CHECKING:
    from consilience.models import Params


class FishMask(LocalSteps):
    """FISH mask: agents agree on the parameters with the largest Fisher information, and train and send only those.

    Which they are is agreed upon by messages of the same size: in the first ⌈n/k⌉ rounds the k numbers of a message are
    a piece of the Fisher information of all n parameters, that each agent takes from its mini-batches of round 0.
    Afterwards they are the k chosen parameters, whose places everybody knows and nobody sends.

    Update rule:
        F = Σ_i F_i / N, F_i = mean over samples of (∂ log p(y|x) / ∂θ)² ;  M = places of the k largest F ;  then
        θ_M ← Σ_j (θ_M of j, after `local_steps` steps on its own shard) / N, and all others stay
    Reduces to:
        `AdaptThenCombine` with W = 11ᵀ/N, one round later, if all parameters are chosen.
    Cost:
        k numbers up and k down per agent and round; `local_steps` gradients, and one gradient per sample in round 0.
    Assumes:
        the complete graph (a server that hears everybody), and every message; common initial parameters; a loss that is
        −log p.
    Known limits:
        the information is that of the labels, of a few mini-batches, and of the parameters where it was taken: at
        random parameters it says less than at pre-trained ones. Agents that sum in another order may break a tie
        between two parameters differently.
    Source:
        Y.-L. Sung, V. Nair and C. Raffel, Training neural networks with fixed sparse masks, NeurIPS 2021, Eqs. (5)–(6)
        [sung2021].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ_M‖²; its gradient is 2γθ_M.
        local_steps: steps between two exchanges.
        optimiser: of the local steps on chosen parameters; plain SGD by default.
        fraction: k/n, the share of parameters that is chosen, in (0, 1].
        score: "fisher", or "random" for a mask drawn at the start, which all agents share and need not agree upon.
        refresh: rounds after which the mask is agreed upon again; `None` for never.

    Example:
        >>> FishMask(learning_rate=0.1, fraction=0.05).score
        'fisher'
    """

    requires = ("complete", "reliable")
    has_implied_server = True
    reads_mixing = False
    starts_together = True

    fraction: float = eqx.field(static=True, default=0.05)
    score: str = eqx.field(static=True, default="fisher")
    refresh: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if isinstance(self.fraction, bool) or not 0 < self.fraction <= 1:
            raise InvalidSpec(
                f"FishMask(fraction={self.fraction!r}): the share of parameters that is chosen is more than 0 and at "
                "most 1. Write fraction=0.05, say."
            )
        if self.score not in ("fisher", "random"):
            raise InvalidSpec(
                f'FishMask(score={self.score!r}): parameters are chosen by their "fisher" information or at '
                '"random". Write score="fisher".'
            )
        if self.refresh is not None:
            check_positive_int(self, refresh=self.refresh)

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The plain mean."""
        return uniform(graph.num_agents)

    def init(self, params: Params, context: Context) -> State:
        """No information yet; random places, which stay for a random mask."""
        flat, _ = ravel_pytree(params)
        k = num_kept(self.fraction, flat.size)
        places = _largest(jax.random.bits(context.shared_key, (flat.size,), jnp.uint32), k)
        # Filled up to whole pieces with less than any information.
        pieces = jnp.full(-(-flat.size // k) * k, -1, flat.dtype)
        return {"params": params, "optimiser": self.optimiser.init(flat[places]), "fisher": pieces, "places": places}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """A piece of the agent's Fisher information; or learn, and send the chosen parameters."""
        flat, unravel = ravel_pytree(state["params"])
        places = state["places"]
        of_chosen = reparametrised(local, lambda chosen: unravel(flat.at[places].set(chosen)))
        learned, optimiser = self.learn(flat[places], state["optimiser"], of_chosen)
        if self.score == "random":
            return {**state, "optimiser": optimiser}, learned
        age = self._age(context)
        # A condition that is the same for all agents stays one under vmap: gradients per sample are taken once.
        fisher = jax.lax.cond(age == 0, _information, _as_it_is, state["fisher"], state["params"], local)
        k = len(places)
        agreeing = age < len(fisher) // k
        piece = jax.lax.dynamic_slice(fisher, (age * k,), (k,))
        kept = jax.tree.map(lambda old, new: jnp.where(agreeing, old, new), state["optimiser"], optimiser)
        return {**state, "fisher": fisher, "optimiser": kept}, jnp.where(agreeing, piece, learned)

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Put down the mean of a piece of information, and choose after the last; or take the mean of parameters."""
        flat, unravel = ravel_pytree(state["params"])
        averaged = unravel(flat.at[state["places"]].set(inbox.mixed))
        if self.score == "random":
            return {**state, "params": averaged}
        age, k = self._age(context), len(state["places"])
        pieces = len(state["fisher"]) // k
        written = jax.lax.dynamic_update_slice(state["fisher"], inbox.mixed, (age * k,))
        fisher = jnp.where(age < pieces, written, state["fisher"])
        chosen = jax.lax.cond(age == pieces - 1, _places_of_largest, _as_it_is, state["places"], fisher)
        params = jax.tree.map(lambda old, new: jnp.where(age < pieces, old, new), state["params"], averaged)
        started = self.optimiser.init(flat[chosen])
        optimiser = jax.tree.map(lambda old, new: jnp.where(age < pieces, new, old), state["optimiser"], started)
        return {"params": params, "optimiser": optimiser, "fisher": fisher, "places": chosen}

    def _age(self, context: Context) -> jax.Array:
        """Rounds since agents began to agree upon the mask."""
        return context.round if self.refresh is None else context.round % self.refresh

    def params(self, state: State) -> Params:
        """All parameters, chosen or not."""
        return state["params"]


def _as_it_is(known: jax.Array, *_: Any) -> jax.Array:
    return known


def _places_of_largest(places: jax.Array, fisher: jax.Array) -> jax.Array:
    return _largest(fisher, len(places))


def _information(known: jax.Array, params: Params, local: Local) -> jax.Array:
    """Mean of the squared gradients of single samples, over mini-batches of the round; shaped as what was known."""

    def of_sample(inputs: jax.Array, target: jax.Array) -> Any:
        loss = lambda theta: local.loss_function(local.apply(theta, inputs[None]), target[None])[0]  # noqa: E731
        return jax.tree.map(jnp.square, jax.grad(loss)(params))

    num_batches, batch = local.inputs.shape[:2]
    weights = jnp.full(batch, 1 / batch, known.dtype) if local.weights is None else local.weights
    total: Any = 0
    for step in range(num_batches):
        squares = jax.vmap(of_sample)(local.inputs[step], local.targets[step])
        mean, _ = ravel_pytree(jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), squares))
        total = total + mean / num_batches
    return jnp.full_like(known, -1).at[: total.size].set(total)


def _largest(values: jax.Array, k: int) -> jax.Array:
    """Places of the k largest, in order."""
    return jnp.sort(jax.lax.top_k(values, k)[1]).astype(jnp.int32)
