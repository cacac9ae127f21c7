"""Decentralised SGD in its three orders: mix and step at once, step then mix, mix then step."""

from __future__ import annotations

from typing import Any

import jax

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State, regularised
from consilience.algorithms.parameters_as_state import LocalSGD, ParametersAsState
from consilience.algorithms.validation import check_non_negative


class DGD(ParametersAsState):
    """Decentralised gradient descent: mix, and step along the gradient at the parameters before mixing.

    Update rule:
        θ_i ← Σ_j w_ij θ_j − η ∇(L_i + γ‖θ_i‖²)(θ_i)
    Reduces to:
        `DiffusiveCoupling` when W = I − (ησ/N) L_Q; `Isolated` when W = I; SGD at N = 1.
    Cost:
        one message of the size of the model per edge and round; one gradient.
    Assumes:
        rows of W that sum to one; columns too if the mean is to follow the mean gradient.
    Known limits:
        with a constant learning rate the agents settle O(η) away from the minimum of the mean loss.
    Source:
        A. Nedić and A. Ozdaglar, Distributed subgradient methods for multi-agent optimization, IEEE TAC 54 (2009),
        Eq. (1) [nedic2009]; paper 003, DGD.

    Attributes:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Example:
        >>> DGD(learning_rate=0.1).num_local_steps
        1
    """

    learning_rate: Any
    weight_decay: Any = 0.0

    def __check_init__(self) -> None:
        check_non_negative(self, learning_rate=self.learning_rate, weight_decay=self.weight_decay)

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Send the parameters as they are."""
        return state, state

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Mixed parameters minus the gradient at the own, unmixed ones."""
        gradient = regularised(local.gradient(state), state, self.weight_decay)
        return jax.tree.map(lambda mixed, g: mixed - self.learning_rate * g, inbox.mixed, gradient)


class AdaptThenCombine(LocalSGD):
    """Local SGD steps, then mixing (D-PSGD in its usual form; local SGD when there are several steps).

    Update rule:
        θ_i ← Σ_j w_ij [θ_j − η ∇(L_j + γ‖θ_j‖²)(θ_j)], with `local_steps` steps inside the bracket
    Reduces to:
        `FederatedAveraging` on the complete graph with equal shards and W = 11ᵀ/N; `Isolated` when W = I; SGD on the
        union of all mini-batches on the complete graph with one step from common parameters; SGD at N = 1.
    Cost:
        one message of the size of the model per edge and round; `local_steps` gradients.
    Assumes:
        rows of W that sum to one; columns too if the mean is to follow the mean gradient.
    Known limits:
        client drift: with several steps or heterogeneous shards it settles away from the minimum of the mean loss.
    Source:
        X. Lian et al., Can decentralized algorithms outperform centralized algorithms?, NeurIPS 2017 [lian2017];
        A. H. Sayed, Adaptation, learning, and optimization over networks (2014) [sayed2014]; paper 003, ATC.

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two exchanges.
        optimiser: turns gradients into directions; plain SGD by default.

    Example:
        >>> AdaptThenCombine(learning_rate=0.1, local_steps=5).num_local_steps
        5
    """

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn, send the result."""
        state = self.learned(state, local)
        return state, state["params"]

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Keep the mix."""
        return {**state, "params": inbox.mixed}


class CombineThenAdapt(LocalSGD):
    """Mixing, then local SGD steps from the mix.

    Update rule:
        ψ_i = Σ_j w_ij θ_j ;  θ_i ← ψ_i − η ∇(L_i + γ‖ψ_i‖²)(ψ_i), with `local_steps` steps
    Reduces to:
        `AdaptThenCombine` up to half a round (its parameters before mixing); `Isolated` when W = I; SGD at N = 1.
    Cost:
        one message of the size of the model per edge and round; `local_steps` gradients.
    Assumes:
        rows of W that sum to one; columns too if the mean is to follow the mean gradient.
    Known limits:
        as `AdaptThenCombine`; the parameters that are evaluated are those after the local steps, not the mix.
    Source:
        A. H. Sayed, Adaptation, learning, and optimization over networks (2014) [sayed2014]; paper 003, CTA.

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two exchanges.
        optimiser: turns gradients into directions; plain SGD by default.

    Example:
        >>> CombineThenAdapt(learning_rate=0.1).num_local_steps
        1
    """

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Send the parameters as they are."""
        return state, state["params"]

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Learn from the mix."""
        return self.learned({**state, "params": inbox.mixed}, local)


class Isolated(LocalSGD):
    """Every agent alone: SGD on its own shard, nothing is exchanged.

    Update rule:
        θ_i ← θ_i − η ∇(L_i + γ‖θ_i‖²), `local_steps` times
    Reduces to:
        plain SGD, agent by agent.
    Cost:
        no messages; `local_steps` gradients.
    Assumes:
        nothing.
    Known limits:
        an agent never learns what is not in its shard: the baseline of every comparison.
    Source:
        the uncoupled limit of paper 001, Eq. (2) [arolafernandez2023].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps per round.
        optimiser: turns gradients into directions; plain SGD by default.

    Example:
        >>> Isolated(learning_rate=0.1).num_local_steps
        1
    """

    reads_mixing = False

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn; send nothing."""
        return self.learned(state, local), ()

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Nothing arrives."""
        return state
