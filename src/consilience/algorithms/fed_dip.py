"""Federated dynamic pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.reparametrised import reparametrised
from consilience.algorithms.validation import check_non_negative, check_positive_int
from consilience.errors import InvalidSpec
from consilience.messages import TopK, decode

if TYPE_CHECKING:
    from consilience.models import Params


class FedDIP(FederatedAveraging):
    """FedDIP: federated averaging of a model that is pruned more and more, while what is pruned may grow back.

    Weights (arrays with two axes and more) are pruned by magnitude, all together; vectors stay. Gradients are taken at
    the pruned model and go to all weights, pruned ones too, so that the server, which keeps them, sees which should
    come back: feedback of the error that pruning makes.

    Update rule:
        θ_i ← θ_i − η ∇(L_i + (γ + λ_t)‖·‖²) at m ⊙ θ_i, `local_steps` times from m ⊙ θ ;
        θ ← θ + Σ_{i active} n_i (θ_i − m ⊙ θ) / Σ_{i active} n_i ;  every `period` rounds m ← the 1 − s_t of all
        weights that are largest, s_t = s_p + (s_0 − s_p)(1 − t/T)³ ;  λ_t = λ_max ⌊Q t/T⌋ / Q
    Reduces to:
        `FederatedAveraging` where nothing is pruned and λ_max = 0.
    Cost:
        one model up, and down the weights that s_0 leaves, with their places, per active agent and round; `local_steps`
        gradients. As s_t grows, fewer weights are down there than the counted bits have room for.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        what is pruned is chosen by magnitude, between layers of different scales too; the first mask is of the initial
        weights, not drawn with more zeros in larger layers (ERK) as in the paper. What agents send is dense, unless a
        compressor is given.
    Source:
        Q. Long, C. Anagnostopoulos, S. P. Parambath and D. Bi, FedDIP: federated learning with extreme dynamic pruning
        and incremental regularization, ICDM 2023, Algorithm 1 [long2023]; error feedback of pruning, T. Lin,
        S. U. Stich, L. Barba, D. Dmitriev and M. Jaggi, Dynamic model pruning with feedback, ICLR 2020 [lin2020].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖m ⊙ θ‖²; its gradient is 2γ m ⊙ θ.
        local_steps: steps between two averages.
        optimiser: of the local steps; forgets everything between rounds, as participants do.
        compressor: of what travels up.
        memory: what agents keep of what the compressor left out.
        server: the server's optimiser, for which the mean of what agents moved is a gradient, backwards.
        server_rate: the server's learning rate; 1 keeps the mean.
        sparsity: s_p, share of weights that are pruned in the end, in [0, 1).
        initial_sparsity: s_0 ≤ s_p, share of weights that are pruned at the start.
        period: rounds between two masks.
        horizon: T, rounds after which s_t and λ_t stay; 0 for s_p and λ_max from the start.
        max_penalty: λ_max ≥ 0.
        num_penalties: Q, steps in which λ_t rises.

    Example:
        >>> FedDIP(learning_rate=0.1, sparsity=0.9, initial_sparsity=0.5, horizon=100).period
        10
    """

    sparsity: float = eqx.field(static=True, default=0.9)
    initial_sparsity: float = eqx.field(static=True, default=0.5)
    period: int = eqx.field(static=True, default=10)
    horizon: int = eqx.field(static=True, default=0)
    max_penalty: Any = 0.0
    num_penalties: int = eqx.field(static=True, default=5)

    def __check_init__(self) -> None:
        if not 0 <= self.initial_sparsity <= self.sparsity < 1:
            raise InvalidSpec(
                f"FedDIP(sparsity={self.sparsity!r}, initial_sparsity={self.initial_sparsity!r}): both are shares of "
                "weights from 0 to below 1, and pruning goes on, it does not go back. Write sparsity=0.9, "
                "initial_sparsity=0.5, say."
            )
        if self.horizon:
            check_positive_int(self, horizon=self.horizon)
        check_positive_int(self, period=self.period, num_penalties=self.num_penalties)
        check_non_negative(self, max_penalty=self.max_penalty)

    def progress(self, round: Any) -> Any:
        """t/T, at most 1."""
        # The quotient of whole numbers would be of a precision of their own.
        now = jnp.asarray(round, jnp.result_type(float))
        return jnp.minimum(now / self.horizon, 1) if self.horizon else jnp.ones_like(now)

    def sparsity_at(self, round: Any) -> Any:
        """s_t."""
        return self.sparsity + (self.initial_sparsity - self.sparsity) * (1 - self.progress(round)) ** 3

    def init(self, params: Params, context: Context) -> State:
        """All start from the given model, nothing pruned: the first mask comes before the first step."""
        state = FederatedAveraging.init(self, params, context)
        return {**state, "mask": jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), params)}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn from the pruned model, pruned weights too; send how far all have moved."""
        mask = jax.lax.cond(
            context.round % self.period == 0,
            lambda: self._mask(state["params"], context.round),
            lambda: state["mask"],
        )
        strength = self.weight_decay + self.max_penalty * _staircase(self.progress(context.round), self.num_penalties)

        def pruned(dense: Params) -> Params:
            # The value of the pruned model, and its gradient for all weights.
            return jax.tree.map(
                lambda whole, part: whole + jax.lax.stop_gradient(part - whole), dense, _at(mask, dense)
            )

        def penalty(theta: Params) -> Any:
            return sum(strength.astype(leaf.dtype) * jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(theta))

        unpenalised = eqx.tree_at(lambda method: method.weight_decay, self, 0.0)
        start = {**_without_mask(state), "params": _at(mask, state["params"])}
        seen = reparametrised(local, pruned, penalty)
        own, message = FederatedAveraging.emit(unpenalised, start, seen, context)
        return {**own, "params": state["params"], "mask": mask}, message

    def broadcast(self, total: Message, context: Context) -> Message:
        """The weights that s_0 leaves, of the server's model, which is shaped as what agents send."""
        moved, _ = decode(total)
        weights, vectors = _split(moved)
        flat, _ = ravel_pytree(weights)
        return TopK(1 - self.initial_sparsity).compress(flat), vectors

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Move all weights, which only the server knows, by the weighted mean of those who took part."""
        moved = FederatedAveraging.absorb(self, _without_mask(state), inbox, local, context)
        return {**moved, "mask": state["mask"]}

    def _mask(self, params: Params, round: Any) -> Params:
        """Which weights are among the 1 − s_t that are largest."""
        weights, _ = _split(params)
        sizes, _ = ravel_pytree(jax.tree.map(jnp.abs, weights))
        if not sizes.size:
            return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), params)
        num_pruned = jnp.round(self.sparsity_at(round) * sizes.size).astype(jnp.int32)
        smallest_kept = jnp.sort(sizes)[num_pruned]
        return jax.tree.map(
            lambda leaf: jnp.abs(leaf) >= smallest_kept if leaf.ndim > 1 else jnp.ones(leaf.shape, bool), params
        )

    def params(self, state: State) -> Params:
        """The pruned model, which is what agents have."""
        return _at(state["mask"], state["params"])


def _at(mask: Params, params: Params) -> Params:
    """m ⊙ θ."""
    return jax.tree.map(lambda kept, leaf: jnp.where(kept, leaf, 0), mask, params)


def _split(params: Params) -> tuple[Params, Params]:
    """Weights, which are pruned, and vectors, which are not."""
    return eqx.partition(params, jax.tree.map(lambda leaf: leaf.ndim > 1, params))


def _without_mask(state: State) -> State:
    return {name: value for name, value in state.items() if name != "mask"}


def _staircase(progress: Any, num_steps: int) -> Any:
    """0 at the start, 1 at the end, in even steps."""
    return jnp.floor(progress * num_steps) / num_steps
