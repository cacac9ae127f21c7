"""Methods that are choices of `AdaptThenCombine` and `FederatedAveraging`, under the names by which they are known."""

from __future__ import annotations

from typing import Any

from consilience.algorithms.decentralised_sgd import AdaptThenCombine
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.optimisers import Optimiser, Plain


def synchronous_local_sgd(
    learning_rate: Any, weight_decay: Any = 0.0, local_steps: int = 1, optimiser: Optimiser | None = None
) -> AdaptThenCombine:
    """Local SGD: every agent takes several steps alone, then all take the mean of all.

    Update rule:
        θ_i ← mean_j [θ_j − η ∇(L_j + γ‖θ_j‖²)(θ_j)], with `local_steps` steps inside the bracket
    Reduces to:
        SGD on the union of all mini-batches with one step from common parameters; one step per round with a mean every
        `local_steps` rounds, `EveryRounds`.
    Cost:
        one message of the size of the model per edge and round; `local_steps` gradients.
    Assumes:
        the complete graph with its default weights, 11ᵀ/N; on another graph it is decentralised local SGD.
    Known limits:
        agents drift apart between means, the further the more their data differ.
    Source:
        S. U. Stich, Local SGD converges fast and communicates little, ICLR 2019, Algorithm 1 [stich2019].

    Args:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: H, steps between two means.
        optimiser: of the local steps; plain by default.

    Returns:
        `AdaptThenCombine`.

    Example:
        >>> synchronous_local_sgd(0.1, local_steps=8).num_local_steps
        8
    """
    return AdaptThenCombine(learning_rate, weight_decay, local_steps, optimiser or Plain())


def fed_sgd(learning_rate: Any, weight_decay: Any = 0.0) -> FederatedAveraging:
    """FedSGD: the participants send one gradient each, and their mean, weighted by shard sizes, is one step.

    Update rule:
        θ ← θ − η Σ_{i active} n_i ∇(L_i + γ‖θ‖²)(θ) / Σ_{i active} n_i
    Reduces to:
        `ParallelSGD` when all agents are active and shards are equal; gradient descent on the union of all data with
        whole shards.
    Cost:
        one model up and one down per active agent and round; one gradient.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        one exchange per gradient.
    Source:
        H. B. McMahan et al., Communication-efficient learning of deep networks from decentralized data, AISTATS 2017,
        Section 2 [mcmahan2017].

    Args:
        learning_rate: η > 0, per round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Returns:
        `FederatedAveraging` with one local step.

    Example:
        >>> fed_sgd(0.1).num_local_steps
        1
    """
    return FederatedAveraging(learning_rate, weight_decay)
