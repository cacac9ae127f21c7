"""What the peers must compute: gradient steps and averages in plain NumPy, double precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from protocol import Params, Problem

TOLERANCE = 2e-5
"""Relative. Single precision with sums in another order leaves some 1e-6; a step or an average left out, 1e-2."""
CHECK_ROUNDS, CHECK_EXCHANGES, CHECK_LEARNING_RATE = 5, 2, 0.03
STEP_THEN_AVERAGE, BOTH_AT_ONCE = "step then average", "both at once"
"""θ_i ← mean of θ_j − η ∇L_j(θ_j), or θ_i ← θ_i + pull (mean of θ_j − θ_i) − η ∇L_i(θ_i)."""


def gradients(params: Params, images: np.ndarray, labels: np.ndarray) -> Params:
    """Gradients of the mean cross-entropy of every agent's 784-20-10 network on its mini-batch.

    Args:
        params: leaves (agents, ...).
        images: shape (agents, batch, 784).
        labels: shape (agents, batch).
    """
    before = images @ params["weight_0"] + params["bias_0"][:, None]
    assert np.abs(before).min() > 1e-3, "a hidden neuron is so near its threshold that rounding may switch it"
    hidden = np.maximum(before, 0)
    scores = hidden @ params["weight_1"] + params["bias_1"][:, None]
    probabilities = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    at_scores = (probabilities - np.eye(scores.shape[-1])[labels]) / labels.shape[1]
    at_hidden = (at_scores @ params["weight_1"].swapaxes(1, 2)) * (before > 0)
    return {
        "weight_0": images.swapaxes(1, 2) @ at_hidden,
        "bias_0": at_hidden.sum(axis=1),
        "weight_1": hidden.swapaxes(1, 2) @ at_scores,
        "bias_1": at_scores.sum(axis=1),
    }


def train(problem: Problem, *, order: str, pull: float) -> Params:
    """The parameters of all agents after the rounds of the check, leaves (agents, ...)."""
    params = {name: leaf.astype(float) for name, leaf in problem.common.items()}
    for round in range(CHECK_ROUNDS):
        batch = problem.batch(round)
        slopes = gradients(params, problem.images[batch].astype(float), problem.labels[batch])
        steps = {name: -CHECK_LEARNING_RATE * slopes[name] for name in params}
        moved = params if order == BOTH_AT_ONCE else {name: params[name] + steps[name] for name in params}
        mixed = {name: leaf + pull * (leaf.mean(axis=0) - leaf) for name, leaf in moved.items()}
        params = mixed if order == STEP_THEN_AVERAGE else {name: mixed[name] + steps[name] for name in params}
    return params


def _largest(differences: np.ndarray, scales: np.ndarray) -> float:
    """The largest ‖difference‖ over agents, relative to the typical ‖parameters‖ of an agent in this leaf."""
    axes = tuple(range(1, differences.ndim))
    typical = np.sqrt(np.mean((scales**2).sum(axis=axes)))
    return float(np.sqrt((differences**2).sum(axis=axes)).max() / typical)


@dataclass(frozen=True)
class Verdict:
    """Relative differences from what should be; not finite if the shapes are wrong.

    Attributes:
        mean: of the mean over agents before and after exchanges without learning.
        agreement: of the agents from that mean plus what the pull leaves of their deviations from it.
        training: from the reference, after some rounds of learning.
    """

    mean: float
    agreement: float
    training: float

    @property
    def refusal(self) -> str | None:
        """Why this peer is not timed, or None."""
        names = {
            "the exchange changes the mean over agents": self.mean,
            "agents differ after the exchange": self.agreement,
            f"parameters after {CHECK_ROUNDS} rounds differ from the reference": self.training,
        }
        wrong = [f"{name} by {value:.1e}" for name, value in names.items() if not value <= TOLERANCE]
        return f"fails its check (relative tolerance {TOLERANCE:g}): {'; '.join(wrong)}" if wrong else None


def judge(outputs: Params, problem: Problem, *, order: str, pulls: Sequence[float]) -> Verdict:
    """Compare the answers to a check, leaves (replicas, agents, ...), with what they should be.

    Args:
        outputs: "exchange/<leaf>" and "training/<leaf>".
        problem: what the peer was given.
        order: STEP_THEN_AVERAGE or BOTH_AT_ONCE.
        pulls: for each replica, the part of the way to the mean that agents go in a round.
    """
    worst = {"mean": 0.0, "agreement": 0.0, "training": 0.0}
    for replica, pull in enumerate(pulls):
        trained = train(problem, order=order, pull=pull)
        for name, start in problem.distinct.items():
            exchanged, learned = (outputs[f"{kind}/{name}"] for kind in ("exchange", "training"))
            if not exchanged.shape == learned.shape == (len(pulls), *start.shape):
                return Verdict(np.inf, np.inf, np.inf)
            mean = start.astype(float).mean(axis=0)
            after = exchanged[replica].astype(float)
            expected = mean + (1 - pull) ** CHECK_EXCHANGES * (start - mean)
            differences = {
                "mean": _largest(after.mean(axis=0, keepdims=True) - mean, start),
                "agreement": _largest(after - expected, start),
                "training": _largest(learned[replica] - trained[name], trained[name]),
            }
            # np.maximum, unlike max, lets a NaN win.
            worst = {kind: float(np.maximum(worst[kind], value)) for kind, value in differences.items()}
    return Verdict(**worst)
