"""Parallel SGD with fewer bits: published choices of what travels up, what comes back, and what is remembered."""

from __future__ import annotations

from typing import Any

from consilience.algorithms.optimisers import Lion, Optimiser, Plain
from consilience.algorithms.parallel_sgd import ParallelSGD
from consilience.errors import InvalidSpec
from consilience.messages import (
    QSGD,
    Compressor,
    ErrorFeedback,
    EvenSteps,
    Identity,
    Majority,
    Ternary,
    TopK,
    UnitSign,
)

_PLAIN = Plain()
_HUNDREDTH = TopK(0.01)


def sign_sgd(learning_rate: Any, *, weight_decay: Any = 0.0) -> ParallelSGD:
    """signSGD with majority vote: agents send the signs of their gradients, and all follow the majority.

    Update rule:
        θ ← θ − η sign(Σ_i sign ∇(L_i + γ‖θ‖²)), per parameter; 0 counts as +, and ties are drawn, the same for all
    Reduces to:
        sign descent, θ ← θ − η sign ∇(L + γ‖θ‖²), at N = 1.
    Cost:
        one bit per parameter up and one down per agent and round; one gradient.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters; noise of gradients that is
        symmetric, or agents with like data.
    Known limits:
        does not converge at a constant η, but stays within reach of it; on unlike data the majority may be wrong for
        good, however small η is.
    Source:
        J. Bernstein, Y.-X. Wang, K. Azizzadenesheli and A. Anandkumar, signSGD: compressed optimisation for non-convex
        problems, ICML 2018, Algorithm 3 [bernstein2018].

    Args:
        learning_rate: η > 0, how far every parameter goes in every round.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.

    Example:
        >>> sign_sgd(learning_rate=1e-3).broadcast_compressor
        Majority()
    """
    return ParallelSGD(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        compressor=UnitSign(),
        broadcast_compressor=Majority(),
    )


def error_feedback_sgd(
    learning_rate: Any, *, compressor: Compressor = _HUNDREDTH, weight_decay: Any = 0.0, optimiser: Optimiser = _PLAIN
) -> ParallelSGD:
    """SGD with memory: agents send what a compressor keeps of their gradients, and keep the rest for later.

    Update rule:
        p_i = ∇(L_i + γ‖θ‖²) + e_i ;  e_i ← p_i − C(p_i) ;  θ ← θ − η optimiser(Σ_i C(p_i) / N)
    Reduces to:
        parallel SGD if the compressor keeps everything.
    Cost:
        one compressed gradient up, and one mean down as it is, per agent and round; one gradient; one more model in an
        agent's memory.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters; a compressor that is a
        contraction.
    Known limits:
        what is kept was computed at old parameters: with a share k/n of numbers it is n/k rounds late. The memory holds
        gradients, not steps, which is the same at a constant η only.
    Source:
        S. U. Stich, J.-B. Cordonnier and M. Jaggi, Sparsified SGD with memory, NeurIPS 2018, Algorithm 2 [stich2018];
        with signs S. P. Karimireddy, Q. Rebjock, S. U. Stich and M. Jaggi, Error feedback fixes SignSGD, ICML 2019,
        Algorithm 1 [karimireddy2019].

    Args:
        learning_rate: η > 0, per round.
        compressor: C; the hundredth of all numbers that is largest by default.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        optimiser: everybody's, of the mean.

    Example:
        >>> error_feedback_sgd(learning_rate=0.1).compressor
        TopK(fraction=0.01)
    """
    return ParallelSGD(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        compressor=compressor,
        memory=ErrorFeedback(),
        optimiser=optimiser,
    )


def qsgd(learning_rate: Any, *, levels: int = 7, weight_decay: Any = 0.0, optimiser: Optimiser = _PLAIN) -> ParallelSGD:
    """QSGD: agents send their gradients rounded at random to a few levels.

    Update rule:
        θ ← θ − η optimiser(Σ_i Q(∇(L_i + γ‖θ‖²)) / N), Q(x)_k = ‖x‖/s · (s x_k/‖x‖ rounded up or down at random)
    Reduces to:
        parallel SGD in the mean over the rounding, and up to s⁻¹ per number as the levels s grow.
    Cost:
        ⌈log₂(2s + 1)⌉ bits per parameter up, and one mean down as it is, per agent and round; one gradient.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        the variance grows with min(n/s², √n/s) in the size n of an array: many levels, or a small η, for large layers.
        Bits are of fixed length, not in the Elias code of the paper.
    Source:
        D. Alistarh, D. Grubic, J. Li, R. Tomioka and M. Vojnović, QSGD: communication-efficient SGD via gradient
        quantization and encoding, NeurIPS 2017, Algorithm 1 and Eq. (3) [alistarh2017].

    Args:
        learning_rate: η > 0, per round.
        levels: s ≥ 1, of one sign.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        optimiser: everybody's, of the mean.

    Example:
        >>> qsgd(learning_rate=0.1, levels=1).compressor
        QSGD(levels=1)
    """
    return ParallelSGD(
        learning_rate=learning_rate, weight_decay=weight_decay, compressor=QSGD(levels), optimiser=optimiser
    )


def tern_grad(
    learning_rate: Any, *, clipping: float | None = 2.5, weight_decay: Any = 0.0, optimiser: Optimiser = _PLAIN
) -> ParallelSGD:
    """TernGrad: agents send −s, 0 or s in the place of each number of their gradients, at random.

    Update rule:
        θ ← θ − η optimiser(Σ_i s_i sign(g_i) ⊙ b_i / N), per array, with g_i the gradient of L_i + γ‖θ‖², cut back to
        `clipping` standard deviations; s_i = max |g_i|, b_i = 1 with probability |g_i|/s_i, else 0
    Reduces to:
        parallel SGD in the mean over what is drawn, without clipping; parallel SGD where all numbers of an array have
        one magnitude.
    Cost:
        two bits per parameter up and one mean down as it is, per agent and round; one gradient.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        the variance Σ |g|(s − |g|) is large where few numbers are: hence the clipping, which is biased. Agents do not
        share their scalers s_i (Section 5.1 of the paper): the largest of them is not a sum, which is all that an
        implied server makes. So the mean comes back in full precision.
    Source:
        W. Wen, C. Xu, F. Yan, C. Wu, Y. Wang, Y. Chen and H. Li, TernGrad: ternary gradients to reduce communication in
        distributed deep learning, NeurIPS 2017, Algorithm 1 [wen2017].

    Args:
        learning_rate: η > 0, per round.
        clipping: in standard deviations about 0; `None` for none.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        optimiser: everybody's, of the mean.

    Example:
        >>> tern_grad(learning_rate=0.1).compressor
        Ternary(clipping=2.5)
    """
    return ParallelSGD(
        learning_rate=learning_rate, weight_decay=weight_decay, compressor=Ternary(clipping), optimiser=optimiser
    )


def distributed_lion(
    learning_rate: Any,
    *,
    vote: str = "majority",
    num_agents: int | None = None,
    b1: Any = 0.9,
    b2: Any = 0.99,
    decoupled_decay: Any = 0.0,
) -> ParallelSGD:
    """Distributed Lion: every agent runs Lion on its own gradients and sends its direction, which is a sign.

    Update rule:
        δ_i = sign(b1 m_i + (1 − b1) ∇L_i) ;  m_i ← b2 m_i + (1 − b2) ∇L_i ;  θ ← θ − η (Δ + λθ), with
        Δ = sign(Σ_i δ_i) for a majority, Δ = Σ_i δ_i / N for the mean; 0 counts as +, and ties of a majority are drawn,
        the same for all
    Reduces to:
        Lion at N = 1, with either vote; signSGD with majority vote at b1 = 0.
    Cost:
        one bit per parameter up; one down for a majority, ⌈log₂(N + 1)⌉ for the mean if `num_agents` is given, or a
        number; per agent and round. One gradient; one more model in an agent's memory.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters.
    Known limits:
        as Lion: η a tenth of Adam's, and λ ten times; directions do not shrink at a minimum. Each agent sees its own
        gradients alone, whose noise is √N times larger than that of the mean, so that b2 must suit small mini-batches.
    Source:
        B. Liu, L. Wu, L. Chen, K. Liang, J. Zhu, C. Liang, R. Krishnamoorthi and Q. Liu, Communication efficient
        distributed training with distributed Lion, NeurIPS 2024, Algorithm 1 [liu2024].

    Args:
        learning_rate: η > 0, how far a unanimous vote moves a parameter.
        vote: "majority" (MaVo) or "mean" (Avg).
        num_agents: who votes, for a mean that comes back in few bits; `None` sends it as it is.
        b1: weight of the agent's mean in its direction.
        b2: decay of the agent's mean.
        decoupled_decay: λ ≥ 0.

    Raises:
        InvalidSpec: for another vote, or a number of agents beside a majority.

    Example:
        >>> distributed_lion(learning_rate=1e-3, vote="mean", num_agents=8).broadcast_compressor
        EvenSteps(num_steps=8)
    """
    if vote not in ("majority", "mean"):
        raise InvalidSpec(f'distributed_lion(vote={vote!r}): signs are counted as "majority" or as "mean". Write one.')
    if vote == "majority" and num_agents is not None:
        raise InvalidSpec(
            f"distributed_lion(vote='majority', num_agents={num_agents!r}): a majority takes one bit, however many "
            "vote. Leave num_agents out, or write vote='mean'."
        )
    of_mean = Identity() if num_agents is None else EvenSteps(num_agents)
    return ParallelSGD(
        learning_rate=learning_rate,
        decoupled_decay=decoupled_decay,
        local=Lion(b1, b2),
        compressor=UnitSign(),
        broadcast_compressor=Majority() if vote == "majority" else of_mean,
    )
