"""What methods share: the gradient they learn from, and agents that remember their parameters and their optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax

from consilience.algorithms.algorithm import Algorithm, Context, Local, State, descend, regularised
from consilience.algorithms.optimisers import Optimiser, Plain
from consilience.algorithms.validation import check_non_negative, check_positive_int

if TYPE_CHECKING:
    from consilience.models import Params


_WRITTEN_OUT = 8
"""Local steps up to which a round is compiled step by step: a loop costs a little more, and its compilation less."""


class ParametersAsState(Algorithm):
    """Base of the methods whose state is the parameters."""

    def init(self, params: Params, context: Context) -> State:
        """The parameters are the state."""
        return params

    def params(self, state: State) -> Params:
        """The parameters are the state."""
        return state


class GradientMethod(Algorithm):
    """Base of the methods that learn from the gradient of the loss with its weight decay.

    Attributes:
        learning_rate: η > 0.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
    """

    learning_rate: Any
    weight_decay: Any = 0.0

    def __check_init__(self) -> None:
        check_non_negative(self, learning_rate=self.learning_rate, weight_decay=self.weight_decay)

    def gradient(self, params: Params, local: Local, step: int = 0) -> Params:
        """∇(L + γ‖θ‖²) on the mini-batch of a step."""
        return regularised(local.gradient(params, step), params, self.weight_decay)

    def params(self, state: State) -> Params:
        """The agent's own parameters."""
        return state["params"]


class LocalSteps(GradientMethod):
    """Base of the methods that take `local_steps` steps per round, on the agent's own mini-batches.

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps per round.
        optimiser: turns gradients into directions; plain SGD by default.
    """

    local_steps: int = eqx.field(static=True, default=1)
    # Came after runs had been stored, whose identity must stay what it was.
    optimiser: Optimiser = eqx.field(default=Plain(), metadata={"omit_default_from_identity": True})

    def __check_init__(self) -> None:
        check_positive_int(self, local_steps=self.local_steps)

    @property
    def num_local_steps(self) -> int:
        """Steps per round."""
        return self.local_steps

    def learn(self, params: Params, memory: Any, local: Local) -> tuple[Params, Any]:
        """The local steps of one round: the parameters after them, and what the optimiser remembers."""

        def take(step: Any, learner: tuple[Params, Any]) -> tuple[Params, Any]:
            params, memory = learner
            direction, memory = self.optimiser.direction(self.gradient(params, local, step), memory, params)
            return descend(params, direction, self.learning_rate), memory

        if self.local_steps > _WRITTEN_OUT:
            return jax.lax.fori_loop(0, self.local_steps, take, (params, memory))
        for step in range(self.local_steps):
            params, memory = take(step, (params, memory))
        return params, memory


class LocalSGD(LocalSteps):
    """Base of the methods that learn between exchanges and remember no more than their optimiser does."""

    def init(self, params: Params, context: Context) -> State:
        """The parameters, and an optimiser that has seen no gradient."""
        return {"params": params, "optimiser": self.optimiser.init(params)}

    def learned(self, state: State, local: Local) -> State:
        """The state after the local steps of one round."""
        params, memory = self.learn(state["params"], state["optimiser"], local)
        return {"params": params, "optimiser": memory}
