"""Mixtures of experts: linear regressions, of which a softmax gate says where each is in charge; fitted by EM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.randomness import Purpose, check_seed, generator

_SHORT_RUN = 10
"""EM steps after which the most likely of several starts goes on alone."""
_GATE_STEPS = 10
"""Steps of the optimiser per EM step. More are wasted on responsibilities that change in the next one."""


@dataclass(frozen=True)
class MixtureOfExperts:
    """p(y|x) = Σ_k gate_k(x) N(y; β_kᵀx̃, v_k) with gate(x) = softmax(A x̃) and x̃ = (x, 1).

    Attributes:
        gates: A, shape (experts, features + 1); the last column belongs to the constant.
        experts: β, shape (experts, features + 1), likewise.
        variances: v > 0, shape (experts,), in units of the squared target.

    Example:
        >>> kink = MixtureOfExperts(  # |x|, nearly: one expert falls on the left, the other one rises on the right
        ...     gates=np.array([[-50.0, 0.0], [50.0, 0.0]]), experts=np.array([[-1.0, 0.0], [1.0, 0.0]]),
        ...     variances=np.array([0.01, 0.01]))
        >>> kink.predict([[-2.0], [3.0]]).tolist()
        [2.0, 3.0]
    """

    gates: np.ndarray = field(repr=False)
    experts: np.ndarray = field(repr=False)
    variances: np.ndarray

    @property
    def num_experts(self) -> int:
        """K."""
        return len(self.experts)

    def responsibilities(self, inputs: Any) -> np.ndarray:
        """gate_k(x), shape (samples, experts), for inputs of shape (samples, features)."""
        return np.exp(self.log_gates(with_constant(inputs)))

    def predict(self, inputs: Any) -> np.ndarray:
        """The mean of y given x, shape (samples,), for inputs of shape (samples, features)."""
        return (self.responsibilities(inputs) * (with_constant(inputs) @ self.experts.T)).sum(axis=1)

    def log_likelihood(self, inputs: Any, targets: Any) -> float:
        """The mean of log p(y|x) over samples, in nats."""
        return float(_log_sum(self.log_joint(with_constant(inputs), np.asarray(targets, float))).mean())

    def log_gates(self, features: np.ndarray) -> np.ndarray:
        """log gate_k(x), shape (samples, experts), for x̃ of shape (samples, features + 1)."""
        logits = features @ self.gates.T
        return logits - _log_sum(logits)[:, None]

    def log_joint(self, features: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """log gate_k(x) N(y; β_kᵀx̃, v_k), shape (samples, experts)."""
        squares = (targets[:, None] - features @ self.experts.T) ** 2
        return self.log_gates(features) - (squares / self.variances + np.log(2 * np.pi * self.variances)) / 2


def fit_mixture_of_experts(
    inputs: Any,
    targets: Any,
    num_experts: int,
    *,
    seed: int = 0,
    num_starts: int = 5,
    num_steps: int = 500,
    tolerance: float = 0.1,
) -> MixtureOfExperts:
    """Maximum likelihood by expectation–maximisation, from the most promising of several random starts.

    Every step raises the likelihood. Experts are fitted exactly, the gate by some steps of L-BFGS. A start hands the
    samples to the nearest of `num_experts` random samples.

    Args:
        inputs: shape (samples, features).
        targets: shape (samples,).
        num_experts: K.
        seed: of the starts.
        num_starts: starts that run for ten steps, of which the most likely goes on.
        num_steps: steps at most, after those ten.
        tolerance: gain in the log-likelihood of all samples per step, in nats, below which it stops. It is an absolute
            number since that is how evidence counts: few samples say little, and are soon learned.

    Raises:
        InvalidSpec: for no expert, or more experts than samples.
        IncompatiblePair: if there is not one real target per sample.

    Example:
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> fitted = fit_mixture_of_experts(x, np.abs(x[:, 0]), num_experts=2)
        >>> bool(np.abs(fitted.predict(x) - np.abs(x[:, 0])).max() < 0.05)
        True
    """
    inputs, targets = np.asarray(inputs, float), np.asarray(targets, float)
    _check(inputs, targets, num_experts)
    features, random = with_constant(inputs), generator(check_seed(seed), Purpose.INITIAL_PARAMETERS)
    # Without a floor, an expert that passes through one sample exactly has an infinite likelihood.
    floor = max(1e-6 * float(targets.var()), float(np.finfo(float).tiny))

    def run(mixture: MixtureOfExperts, num_steps: int) -> tuple[float, MixtureOfExperts]:
        before = -np.inf
        for _ in range(num_steps):
            joint = mixture.log_joint(features, targets)
            evidence = _log_sum(joint)
            if evidence.sum() - before < tolerance:
                break
            before = evidence.sum()
            mixture = _maximise(np.exp(joint - evidence[:, None]), features, targets, mixture, floor)
        return float(before), mixture

    starts = [_start(features, targets, num_experts, random, floor) for _ in range(num_starts)]
    _, best = max((run(start, _SHORT_RUN) for start in starts), key=lambda one: one[0])
    return run(best, num_steps)[1]


def with_constant(inputs: Any) -> np.ndarray:
    """x̃ = (x, 1), shape (samples, features + 1)."""
    inputs = np.asarray(inputs, float)
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)


def fit_gates(features: np.ndarray, shares: np.ndarray, start: np.ndarray, *, num_steps: int = 1000) -> np.ndarray:
    """The softmax gate that is nearest to given shares: multinomial logistic regression on soft labels.

    Args:
        features: x̃, shape (samples, features + 1).
        shares: shape (samples, experts), not negative; rows sum to 1.
        start: gates to start from, shape (experts, features + 1); the result is never worse.
        num_steps: steps at most.

    Returns:
        Gates A that minimise −Σ shares · log softmax(A x̃), shape (experts, features + 1).
    """
    from scipy.optimize import minimize

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logits = features @ flat.reshape(start.shape).T
        log_gates = logits - _log_sum(logits)[:, None]
        gradient = (np.exp(log_gates) - shares).T @ features / len(features)
        return -float((shares * log_gates).sum()) / len(features), gradient.ravel()

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": num_steps, "gtol": 1e-9})
    return found.x.reshape(start.shape)


def _start(
    features: np.ndarray, targets: np.ndarray, num_experts: int, random: np.random.Generator, floor: float
) -> MixtureOfExperts:
    """Experts of the regions around random samples, and a gate that does not decide."""
    centres = features[random.choice(len(features), num_experts, replace=False)]
    distances = ((features[:, None] - centres[None]) ** 2).sum(axis=2)
    nearest = np.eye(num_experts)[distances.argmin(axis=1)]
    undecided = MixtureOfExperts(
        gates=np.zeros((num_experts, features.shape[1])),
        experts=np.zeros((num_experts, features.shape[1])),
        variances=np.ones(num_experts),
    )
    return _maximise(nearest, features, targets, undecided, floor)


def _maximise(
    responsibilities: np.ndarray, features: np.ndarray, targets: np.ndarray, mixture: MixtureOfExperts, floor: float
) -> MixtureOfExperts:
    """The M step: weighted least squares for each expert, weighted logistic regression for the gate."""
    experts = np.empty_like(mixture.experts)
    variances = np.empty_like(mixture.variances)
    for k, weights in enumerate(responsibilities.T):
        # The least change that solves the normal equations: an expert in charge of too little keeps what it had.
        gradient = features.T @ (weights * (targets - features @ mixture.experts[k]))
        curvature = (features.T * weights) @ features
        experts[k] = mixture.experts[k] + np.linalg.pinv(curvature, hermitian=True) @ gradient
        squares = (targets - features @ experts[k]) ** 2
        total = weights.sum()
        variances[k] = max(weights @ squares / total, floor) if total > 0 else mixture.variances[k]
    gates = fit_gates(features, responsibilities, mixture.gates, num_steps=_GATE_STEPS)
    return MixtureOfExperts(gates=gates, experts=experts, variances=variances)


def _log_sum(logs: np.ndarray) -> np.ndarray:
    """log Σ_k exp of each row."""
    from scipy.special import logsumexp

    return np.asarray(logsumexp(logs, axis=1))


def _check(inputs: np.ndarray, targets: np.ndarray, num_experts: int) -> None:
    if not 1 <= num_experts <= len(inputs):
        raise InvalidSpec(
            f"num_experts={num_experts} for {len(inputs)} samples: each expert starts around a sample of its own. Use "
            "from one expert up to as many as there are samples."
        )
    if inputs.ndim != 2 or targets.shape != (len(inputs),):
        raise IncompatiblePair(
            f"Inputs of shape {inputs.shape} and targets of shape {targets.shape}: an expert is a linear regression of "
            "one number on some features. Give inputs (samples, features) and targets (samples,)."
        )
