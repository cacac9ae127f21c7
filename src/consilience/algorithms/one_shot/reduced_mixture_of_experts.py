"""Many mixtures of experts reduced to one, by optimal transport between their experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consilience.algorithms.one_shot.mixture_of_experts import (
    MixtureOfExperts,
    fit_gates,
    fit_mixture_of_experts,
    with_constant,
)
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.randomness import Purpose, generator


@dataclass(frozen=True)
class Reduction:
    """What `reduce_mixtures` found.

    Attributes:
        mixture: the mixture of K experts.
        divergence: the expected transport divergence after each step, in nats per sample; it never rises.
        assigned: which of the K experts stands for each local one, shape (mixtures, K).
    """

    mixture: MixtureOfExperts
    divergence: np.ndarray = field(repr=False)
    assigned: np.ndarray = field(repr=False)


def reduced_mixture_of_experts(
    inputs: Any, targets: Any, shards: Sequence[Any], num_experts: int, *, num_support: int = 2000, seed: int = 0
) -> Reduction:
    """Reduced mixture of experts: each shard fits a mixture of its own; all of them are reduced to one at the end.

    Update rule:
        g_m = `fit_mixture_of_experts` on shard m; together they are one mixture of MK experts l with the gates
        (n_m/n) gate_l(x); g = the mixture of K experts that `reduce_mixtures` finds: assign each l to the k with the
        least E_x[gate_l(x) KL(N_l(·|x) ‖ N_k(·|x))], set each k to the barycentre of its l, repeat; then fit the gate
        of k to the summed gates of its l
    Reduces to:
        the fit of all data at M = 1; the common fit if all local fits are the same.
    Cost:
        one mixture of K(2(d + 1) + 1) numbers up per shard, and `num_support` inputs; no round beyond that. The
        reduction takes O(MK·K·d²) per step and start, whatever the number of samples.
    Assumes:
        shards that are random parts of the data, each large enough to find all K experts; inputs that may be shared, or
        a sample of their distribution.
    Known limits:
        a local fit at a poor local maximum of its likelihood adds experts that resemble none of the others; they are
        averaged nevertheless, with the weight of their shard.
    Source:
        F. Chamroukhi and N. T. Pham, Distributed learning of mixtures of experts, arXiv:2312.09877 (2023), the
        expected transportation divergence and its majorisation–minimisation algorithm [chamroukhi2023].
    Args:
        inputs: shape (samples, features).
        targets: shape (samples,).
        shards: indices into the samples, one array per shard.
        num_experts: K, of every local mixture and of the reduced one.
        num_support: inputs on which expectations over x are taken, drawn from those of all shards.
        seed: of the local fits and of the support.

    Returns:
        The reduced mixture, and how its divergence fell.

    Raises:
        InvalidSpec: for no shards, or fewer samples in one than experts.
        IncompatiblePair: if there is not one real target per sample.

    Example:
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> shards = [np.arange(m, 200, 2) for m in range(2)]
        >>> reduced = reduced_mixture_of_experts(x, np.abs(x[:, 0]), shards, num_experts=2).mixture
        >>> bool(np.abs(reduced.predict(x) - np.abs(x[:, 0])).max() < 0.05)
        True
    """
    inputs, targets, shards = np.asarray(inputs), np.asarray(targets), [np.asarray(shard) for shard in shards]
    if not shards:
        raise InvalidSpec("No shards: there is nothing to fit a mixture to. Give at least one array of sample indices.")
    local = [fit_mixture_of_experts(inputs[shard], targets[shard], num_experts, seed=seed) for shard in shards]
    everybody = np.concatenate(shards)
    random = generator(seed, Purpose.SUBSET)
    support = random.choice(everybody, min(num_support, len(everybody)), replace=False)
    return reduce_mixtures(local, inputs[support], weights=[len(shard) for shard in shards])


def reduce_mixtures(
    mixtures: Sequence[MixtureOfExperts], support: Any, *, weights: Sequence[float] | None = None
) -> Reduction:
    """The mixture of K experts nearest to the union of several: least expected transport divergence.

    Each local expert hands its whole gate to one of the K; the cost is the Kullback–Leibler divergence of what they say
    about y, expected over x. Steps of assignment and barycentre start from the experts of each mixture in turn, and the
    lowest end counts.

    Args:
        mixtures: M mixtures with the same number K of experts.
        support: inputs over which expectations are taken, shape (samples, features).
        weights: of the mixtures, shape (M,), their numbers of samples, say; only ratios matter. Equal by default.

    Raises:
        InvalidSpec: for no mixtures.
        IncompatiblePair: for mixtures with different numbers of experts or features.

    Example:
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> fitted = fit_mixture_of_experts(x, np.abs(x[:, 0]), num_experts=2)
        >>> reduction = reduce_mixtures([fitted, fitted, fitted], x)
        >>> bool(np.allclose(reduction.mixture.predict(x), fitted.predict(x)))
        True
    """
    _check(mixtures)
    shares = np.ones(len(mixtures)) if weights is None else np.asarray(weights, float)
    shares = shares / shares.sum()
    features = with_constant(support)
    gates = np.stack([share * np.exp(one.log_gates(features)) for share, one in zip(shares, mixtures, strict=True)], 1)
    union = _Union.of(mixtures, features, gates.reshape(len(features), -1))
    ends = [union.descend(one.experts, one.variances) for one in mixtures]
    best = min(range(len(mixtures)), key=lambda m: ends[m][-1].divergence)
    end = ends[best][-1]
    # From the gate of the mixture whose experts were the start: where nothing has to change, nothing does.
    summed = gates.reshape(len(features), -1) @ np.eye(mixtures[0].num_experts)[end.assigned]
    fitted = fit_gates(features, summed, mixtures[best].gates)
    return Reduction(
        mixture=MixtureOfExperts(gates=fitted, experts=end.experts, variances=end.variances),
        divergence=np.array([step.divergence for step in ends[best]]),
        assigned=end.assigned.reshape(len(mixtures), -1),
    )


@dataclass(frozen=True)
class _Step:
    """Experts, and which of them stands for each local one at which divergence."""

    experts: np.ndarray
    variances: np.ndarray
    assigned: np.ndarray
    divergence: float


@dataclass(frozen=True)
class _Union:
    """All local experts l, with what the divergence needs to know of their gates.

    KL(N_l ‖ N_k) is quadratic in x̃, so its expectation under gate l needs no more than two moments of x̃.
    """

    experts: np.ndarray
    variances: np.ndarray
    masses: np.ndarray
    """E_x[gate_l], shape (L,)."""
    moments: np.ndarray
    """E_x[gate_l x̃x̃ᵀ], shape (L, features + 1, features + 1)."""

    @classmethod
    def of(cls, mixtures: Sequence[MixtureOfExperts], features: np.ndarray, gates: np.ndarray) -> _Union:
        return cls(
            experts=np.concatenate([one.experts for one in mixtures]),
            variances=np.concatenate([one.variances for one in mixtures]),
            masses=gates.mean(axis=0),
            moments=np.einsum("nl,ni,nj->lij", gates, features, features, optimize=True) / len(features),
        )

    def costs(self, experts: np.ndarray, variances: np.ndarray) -> np.ndarray:
        """E_x[gate_l KL(N_l ‖ N_k)], shape (L, K)."""
        offsets = self.experts[:, None] - experts[None]
        squares = np.einsum("lki,lij,lkj->lk", offsets, self.moments, offsets, optimize=True)
        ratios = self.variances[:, None] / variances
        return (self.masses[:, None] * (ratios - 1 - np.log(ratios)) + squares / variances) / 2

    def descend(self, experts: np.ndarray, variances: np.ndarray) -> list[_Step]:
        """Assignments and barycentres in turn, until assignments stay."""
        steps: list[_Step] = []
        while True:
            costs = self.costs(experts, variances)
            assigned = costs.argmin(axis=1)
            steps.append(_Step(experts, variances, assigned, float(costs.min(axis=1).sum())))
            if len(steps) > 1 and (assigned == steps[-2].assigned).all():
                return steps
            # Assignments between which only rounding decides could follow each other forever: the first one stays.
            if len(steps) > 1 and steps[-1].divergence >= steps[-2].divergence:
                return steps[:-1]
            experts, variances = self._barycentres(steps[-1])

    def _barycentres(self, step: _Step) -> tuple[np.ndarray, np.ndarray]:
        """Least squares of the assigned means and pooled variances; what nothing is assigned to stays."""
        experts, variances = step.experts.copy(), step.variances.copy()
        for k in np.unique(step.assigned):
            own = np.flatnonzero(step.assigned == k)
            # As a change, which is exactly zero where all assigned experts are equal already.
            pull = np.einsum("lij,lj->i", self.moments[own], self.experts[own] - experts[k])
            experts[k] += np.linalg.pinv(self.moments[own].sum(axis=0), hermitian=True) @ pull
            offsets = self.experts[own] - experts[k]
            spread = np.einsum("li,lij,lj->", offsets, self.moments[own], offsets)
            variances[k] = (self.masses[own] @ self.variances[own] + spread) / self.masses[own].sum()
        return experts, variances


def _check(mixtures: Sequence[MixtureOfExperts]) -> None:
    if not mixtures:
        raise InvalidSpec("No mixtures: there is nothing to reduce. Give at least one fitted mixture of experts.")
    shapes = sorted({one.experts.shape for one in mixtures})
    if len(shapes) > 1:
        raise IncompatiblePair(
            f"Mixtures with parameters of the shapes {', '.join(map(str, shapes))} (experts, features + 1) cannot "
            "stand for each other. Fit them all with the same num_experts, to the same features."
        )
