"""Local SGD whose directions are scaled, coordinate by coordinate, by what all agents found when they last met."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, descend
from consilience.algorithms.parameters_as_state import LocalSGD
from consilience.algorithms.validation import check_fraction, check_non_negative
from consilience.graphs import Graph, MixingMatrix, uniform

if TYPE_CHECKING:
    from consilience.models import Params

Gradient = Callable[["Params"], "Params"]


class Scaling(eqx.Module):
    """A slot: what agents measure when they meet, and the diagonal D̂ that follows from the mean of it."""

    @abc.abstractmethod
    def init(self, params: Params) -> Any:
        """What is remembered of earlier measurements before there is one."""

    @abc.abstractmethod
    def measure(self, gradient: Gradient, params: Params, key: jax.Array) -> Message:
        """What an agent contributes, from the function that gives its gradient."""

    @abc.abstractmethod
    def refreshed(self, remembered: Any, mean: Message, round: jax.Array) -> Any:
        """What is remembered after the mean of all contributions arrived."""

    @abc.abstractmethod
    def scaled(self, direction: Params, remembered: Any) -> Params:
        """D̂⁻¹ d."""


class NoScaling(Scaling):
    """D̂ = 1; nothing is measured, and nothing travels for it.

    Example:
        >>> NoScaling().scaled([2.0], ())
        [2.0]
    """

    def init(self, params: Params) -> Any:
        """Nothing."""
        return ()

    def measure(self, gradient: Gradient, params: Params, key: jax.Array) -> Message:
        """Nothing."""
        return ()

    def refreshed(self, remembered: Any, mean: Message, round: jax.Array) -> Any:
        """Nothing."""
        return ()

    def scaled(self, direction: Params, remembered: Any) -> Params:
        """The direction as it is."""
        return direction


class _Diagonal(Scaling):
    """Base of scalings that keep a moving mean M ← β M + (1 − β) s of what was measured; the first s starts it."""

    decay: Any = 0.999
    floor: Any = 1e-8

    def __check_init__(self) -> None:
        check_fraction(self, decay=self.decay)
        check_non_negative(self, floor=self.floor)

    def init(self, params: Params) -> Any:
        """Zeros, which the first measurement replaces."""
        return jax.tree.map(jnp.zeros_like, params)

    def decay_in(self, round: jax.Array) -> Any:
        """β in a round: 0 in the first."""
        return jnp.where(round == 0, 0, self.decay)

    def moving_mean(self, remembered: Any, new: Any, round: jax.Array) -> Any:
        """β M + (1 − β) s."""
        beta = self.decay_in(round)

        def moved(old: jax.Array, s: jax.Array) -> jax.Array:
            return jnp.asarray(beta, s.dtype) * old + jnp.asarray(1 - beta, s.dtype) * s

        return jax.tree.map(moved, remembered, new)

    def divided(self, direction: Params, diagonal: Any) -> Params:
        """d / max(α, D)."""
        return jax.tree.map(lambda d, size: d / jnp.maximum(size, self.floor), direction, diagonal)


class RMSPropScaling(_Diagonal):
    """D² ← β D² + (1 − β) g², with the mean g of all agents' gradients; the first one starts D² at g².

    Source:
        S. Chezhegov et al., Local methods with adaptivity via scaling, Russian Mathematical Surveys 79 (2024)
        [chezhegov2024].

    Attributes:
        decay: β in [0, 1].
        floor: α > 0, below which no D̂ falls.

    Example:
        >>> import jax.numpy as jnp
        >>> scaling = RMSPropScaling()
        >>> squares = scaling.refreshed(jnp.array([0.0]), jnp.array([-4.0]), 0)
        >>> scaling.scaled(jnp.array([2.0]), squares).tolist()
        [0.5]
    """

    def measure(self, gradient: Gradient, params: Params, key: jax.Array) -> Message:
        """The gradient at the parameters on which all agents agree."""
        return gradient(params)

    def refreshed(self, remembered: Any, mean: Message, round: jax.Array) -> Any:
        """D²."""
        return self.moving_mean(remembered, jax.tree.map(jnp.square, mean), round)

    def scaled(self, direction: Params, remembered: Any) -> Params:
        """d / max(α, D)."""
        return self.divided(direction, jax.tree.map(jnp.sqrt, remembered))


class AdamScaling(RMSPropScaling):
    """As `RMSPropScaling` with β_t = (β − β^{t+1})/(1 − β^{t+1}) in round t: Adam's correction for its start at zero.

    Source:
        S. Chezhegov et al., Local methods with adaptivity via scaling, Russian Mathematical Surveys 79 (2024)
        [chezhegov2024].

    Attributes:
        decay: β in [0, 1).
        floor: α > 0, below which no D̂ falls.

    Example:
        >>> [round(float(AdamScaling(decay=0.5).decay_in(t)), 3) for t in (0, 1, 50)]
        [0.0, 0.333, 0.5]
    """

    def decay_in(self, round: jax.Array) -> Any:
        """β_t."""
        forgotten = self.decay ** (round + 1)
        return (self.decay - forgotten) / (1 - forgotten)


class OASISScaling(_Diagonal):
    """D ← β D + (1 − β) v ⊙ ∇²L v, with random signs v: an estimate of the Hessian's diagonal; D̂ = max(α, |D|).

    The first estimate starts D. Every agent draws its own signs, so that the mean over agents is the better estimate
    the more there are.

    Source:
        M. Jahani et al., Doubly adaptive scaled algorithm for machine learning using second-order information, ICLR
        2022 [jahani2022]: the preconditioner of OASIS, without its adaptive learning rate.

    Attributes:
        decay: β in [0, 1].
        floor: α > 0, below which no D̂ falls.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> gradient = lambda x: jnp.array([3.0, -5.0]) * x
        >>> OASISScaling().measure(gradient, jnp.array([1.0, 1.0]), jax.random.key(0)).tolist()
        [3.0, -5.0]
    """

    def measure(self, gradient: Gradient, params: Params, key: jax.Array) -> Message:
        """v ⊙ ∇²L v, for the price of a gradient."""
        leaves, structure = jax.tree.flatten(params)
        keys = jax.tree.unflatten(structure, list(jax.random.split(key, len(leaves))))
        signs = jax.tree.map(lambda leaf, one: jax.random.rademacher(one, leaf.shape, leaf.dtype), params, keys)
        _, product = jax.jvp(gradient, (params,), (signs,))
        return jax.tree.map(jnp.multiply, signs, product)

    def refreshed(self, remembered: Any, mean: Message, round: jax.Array) -> Any:
        """D."""
        return self.moving_mean(remembered, mean, round)

    def scaled(self, direction: Params, remembered: Any) -> Params:
        """d / max(α, |D|)."""
        return self.divided(direction, jax.tree.map(jnp.abs, remembered))


SCALINGS: Mapping[str, type[Scaling]] = MappingProxyType(
    {"none": NoScaling, "adam": AdamScaling, "rmsprop": RMSPropScaling, "oasis": OASISScaling}
)
"""Name → class, for specs that are text."""


class ScaledLocalSGD(LocalSGD):
    """Local SGD with a diagonal scaling that is refreshed when agents meet and the same for all until they meet again.

    A round begins where the last one ended, at parameters on which all agree: there they measure, and the mean of that
    refreshes D̂; then they take their steps, and their parameters are averaged.

    Update rule:
        D̂ = scaling(mean_j s_j), with s_j measured on the first mini-batch ;
        θ_i ← θ_i − η D̂⁻¹ ∇(L_i + γ‖θ_i‖²)(θ_i), `local_steps` times ;  θ_i ← mean_j θ_j
    Reduces to:
        `AdaptThenCombine` with W = 11ᵀ/N, to the bit, with `NoScaling`; the same with the rate η/α when the floor α is
        above all that is measured; `ParallelSGD` with the optimiser `Adam(b1=0)` from common parameters with
        `AdamScaling` and one step.
    Cost:
        one model and, with a scaling, one measurement of its size up and one of each down per agent and round;
        `local_steps` gradients, and, with a scaling, one gradient or product with a Hessian.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        D̂ follows the mean gradient, and single agents' gradients do not vanish with it: near a minimum a small floor
        makes steps of local SGD large. Client drift as in local SGD.
    Source:
        S. Chezhegov et al., Local methods with adaptivity via scaling, Russian Mathematical Surveys 79 (2024),
        Algorithm 1 [chezhegov2024].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two averages.
        optimiser: turns gradients into directions, before they are scaled; plain SGD by default.
        scaling: D̂: `NoScaling`, `AdamScaling`, `RMSPropScaling` or `OASISScaling`.

    Example:
        >>> ScaledLocalSGD(learning_rate=0.01, local_steps=10, scaling=OASISScaling(floor=0.1)).scaling
        OASISScaling(floor=0.1)
    """

    num_exchanges = 2
    has_implied_server = True
    requires = ("complete",)

    scaling: Scaling = NoScaling()

    def default_mixing(self, graph: Graph) -> MixingMatrix:
        """The plain mean."""
        return uniform(graph.num_agents)

    def init(self, params: Params, context: Context) -> State:
        """Parameters, an optimiser that has seen no gradient, and a scaling that has seen no measurement."""
        return {**super().init(params, context), "scale": self.scaling.init(params)}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """First a measurement; then the parameters after the local steps."""
        if context.exchange == 0:
            return state, self.scaling.measure(lambda at: self.gradient(at, local, 0), state["params"], context.key)
        params, memory = state["params"], state["optimiser"]
        for step in range(self.local_steps):
            direction, memory = self.optimiser.direction(self.gradient(params, local, step), memory, params)
            params = descend(params, self.scaling.scaled(direction, state["scale"]), self.learning_rate)
        return {**state, "optimiser": memory}, params

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """First a new scaling; then the mean of the parameters."""
        if context.exchange == 0:
            return {**state, "scale": self.scaling.refreshed(state["scale"], inbox.mixed, context.round)}
        return {**state, "params": inbox.mixed}
