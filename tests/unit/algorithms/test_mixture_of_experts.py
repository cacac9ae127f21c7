"""Mixtures of experts by EM, and many of them reduced to one, against formulas written out and in their limits."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from consilience.algorithms.one_shot import (
    MixtureOfExperts,
    fit_mixture_of_experts,
    reduce_mixtures,
    reduced_mixture_of_experts,
)
from consilience.algorithms.one_shot.mixture_of_experts import fit_gates
from consilience.errors import IncompatiblePair, InvalidSpec

# Sums over some hundred samples in double precision.
ROUNDING = 1e-11

TRUTH = MixtureOfExperts(
    gates=np.array([[8.0, 1.0, 0.5], [-6.0, 3.0, 0.0], [0.0, -7.0, -0.5]]),
    experts=np.array([[2.0, -1.0, 1.0], [-3.0, 0.5, -1.0], [1.0, 2.0, 3.0]]),
    variances=np.array([0.04, 0.09, 0.02]),
)


@functools.cache
def drawn(num: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Samples of `TRUTH`, with inputs and targets of both signs."""
    random = np.random.default_rng(seed)
    inputs = random.uniform(-1, 1, size=(num, 2))
    expert = (TRUTH.responsibilities(inputs).cumsum(axis=1) < random.random(num)[:, None]).sum(axis=1)
    means = (np.c_[inputs, np.ones(num)] * TRUTH.experts[expert]).sum(axis=1)
    return inputs, means + np.sqrt(TRUTH.variances[expert]) * random.normal(size=num)


@functools.cache
def local_fits() -> list[MixtureOfExperts]:
    inputs, targets = drawn()
    return [fit_mixture_of_experts(inputs[m::4], targets[m::4], 3, seed=m) for m in range(4)]


def assert_same(actual: MixtureOfExperts, expected: MixtureOfExperts, *, tolerance: float = 1e-9) -> None:
    for field in ("experts", "variances", "gates"):
        np.testing.assert_allclose(getattr(actual, field), getattr(expected, field), rtol=tolerance, atol=tolerance)


def test_densities_are_those_written_out() -> None:
    inputs, targets = drawn()
    for x, y, gates, mean in zip(
        inputs[:5], targets, TRUTH.responsibilities(inputs), TRUTH.predict(inputs), strict=False
    ):
        weights = [np.exp(a[0] * x[0] + a[1] * x[1] + a[2]) for a in TRUTH.gates]
        np.testing.assert_allclose(gates, np.array(weights) / sum(weights), rtol=ROUNDING)
        centres = [b[0] * x[0] + b[1] * x[1] + b[2] for b in TRUTH.experts]
        assert mean == pytest.approx(np.dot(gates, centres), rel=ROUNDING)
        density = sum(
            g * np.exp(-((y - c) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
            for g, c, v in zip(gates, centres, TRUTH.variances, strict=True)
        )
        assert TRUTH.log_likelihood(x[None], [y]) == pytest.approx(np.log(density), rel=1e-9)


def test_every_step_of_em_raises_the_likelihood() -> None:
    inputs, targets = drawn()
    likelihoods = [
        fit_mixture_of_experts(inputs, targets, 3, num_starts=1, num_steps=steps, tolerance=0.0).log_likelihood(
            inputs, targets
        )
        for steps in (1, 2, 4, 8, 16, 32)
    ]
    assert (np.diff(likelihoods) > -ROUNDING).all()
    # After the short run of the start there is not much left to gain: 0.018 nats.
    assert likelihoods[-1] > likelihoods[0] + 0.005


def test_em_finds_what_the_data_came_from() -> None:
    """More likely than the truth on the data that were fitted, as a maximum is, and as good on other data."""
    inputs, targets = drawn()
    fitted = fit_mixture_of_experts(inputs, targets, 3)
    assert fitted.log_likelihood(inputs, targets) > TRUTH.log_likelihood(inputs, targets)
    # 20 parameters fitted to 600 samples cost about 20 / (2 · 600) nats = 0.017 per sample; thrice that.
    others = drawn(2000, seed=1)
    assert fitted.log_likelihood(*others) > TRUTH.log_likelihood(*others) - 0.05


def test_one_expert_is_least_squares() -> None:
    inputs, targets = drawn()
    fitted = fit_mixture_of_experts(inputs, targets, 1)
    features = np.c_[inputs, np.ones(len(inputs))]
    expected, squares, *_ = np.linalg.lstsq(features, targets, rcond=None)
    np.testing.assert_allclose(fitted.experts[0], expected, rtol=1e-10, atol=1e-10)
    assert fitted.variances[0] == pytest.approx(squares[0] / len(targets), rel=1e-10)


def test_gates_of_hard_and_soft_labels() -> None:
    """At the optimum the shares and the gates have the same moments with every feature."""
    inputs, _ = drawn()
    features = np.c_[inputs, np.ones(len(inputs))]
    shares = np.random.default_rng(0).dirichlet(np.ones(3), size=len(inputs))
    gates = fit_gates(features, shares, np.zeros((3, 3)))
    logits = np.exp(features @ gates.T)
    fitted = logits / logits.sum(axis=1, keepdims=True)
    # L-BFGS ends at gradients of 1e-9, or where the loss no longer falls in double precision: at about its root.
    np.testing.assert_allclose(fitted.T @ features / 600, shares.T @ features / 600, rtol=0, atol=1e-6)


# ---- reduction ---------------------------------------------------------------------------------------------------


def divergence(reduced: MixtureOfExperts, assigned: np.ndarray, support: np.ndarray, weights: np.ndarray) -> float:
    """Σ_l E_x[gate_l KL(N_l ‖ N_k)], sample by sample, with the weights of shards."""
    total = 0.0
    features = np.c_[support, np.ones(len(support))]
    for share, mixture, to in zip(weights, local_fits(), assigned, strict=True):
        for x, gates in zip(features, mixture.responsibilities(support), strict=True):
            for gate, mean, variance, k in zip(gates, mixture.experts @ x, mixture.variances, to, strict=True):
                v = reduced.variances[k]
                kl = np.log(np.sqrt(v / variance)) + (variance + (mean - reduced.experts[k] @ x) ** 2) / (2 * v) - 0.5
                total += share * gate * kl / len(support)
    return total


def test_divergence_falls_and_is_that_written_out() -> None:
    support, _ = drawn(60, seed=2)
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    reduction = reduce_mixtures(local_fits(), support, weights=weights)
    assert len(reduction.divergence) > 1
    assert (np.diff(reduction.divergence) <= ROUNDING).all()
    expected = divergence(reduction.mixture, reduction.assigned, support, weights / weights.sum())
    assert reduction.divergence[-1] == pytest.approx(expected, rel=1e-9)


def test_no_other_experts_are_nearer() -> None:
    """The result is a minimum: neither another assignment nor other experts lower the divergence."""
    support, _ = drawn(60, seed=2)
    weights, random = np.full(4, 0.25), np.random.default_rng(0)
    reduction = reduce_mixtures(local_fits(), support)
    for m, k in np.ndindex(4, 3):
        for other in range(3):
            assigned = reduction.assigned.copy()
            assigned[m, k] = other
            assert divergence(reduction.mixture, assigned, support, weights) > reduction.divergence[-1] - ROUNDING
    for _ in range(10):
        moved = MixtureOfExperts(
            gates=reduction.mixture.gates,
            experts=reduction.mixture.experts + 1e-3 * random.normal(size=(3, 3)),
            variances=reduction.mixture.variances * np.exp(1e-3 * random.normal(size=3)),
        )
        assert divergence(moved, reduction.assigned, support, weights) > reduction.divergence[-1]


def test_one_shard_is_the_fit_of_all_data() -> None:
    inputs, targets = drawn()
    reduced = reduced_mixture_of_experts(inputs, targets, [np.arange(600)], 3, seed=5).mixture
    assert_same(reduced, fit_mixture_of_experts(inputs, targets, 3, seed=5))


def test_equal_fits_reduce_to_that_fit() -> None:
    """In whatever order their experts stand."""
    one = local_fits()[0]
    order = [2, 0, 1]
    same = MixtureOfExperts(gates=one.gates[order], experts=one.experts[order], variances=one.variances[order])
    reduction = reduce_mixtures([one, same, one], drawn()[0], weights=[1.0, 2.0, 5.0])
    assert_same(reduction.mixture, one)
    assert reduction.divergence[-1] == pytest.approx(0, abs=ROUNDING)
    assert reduction.assigned.tolist() == [[0, 1, 2], order, [0, 1, 2]]


def test_shards_together_are_better_than_their_naive_average() -> None:
    inputs, targets = drawn()
    reduced = reduced_mixture_of_experts(inputs, targets, [np.arange(m, 600, 4) for m in range(4)], 3).mixture
    others = drawn(2000, seed=1)
    naive = MixtureOfExperts(
        *(np.mean([getattr(m, f) for m in local_fits()], axis=0) for f in ("gates", "experts", "variances"))
    )
    errors = [((one.predict(others[0]) - others[1]) ** 2).mean() for one in (reduced, naive, TRUTH)]
    assert errors[0] < 0.5 * errors[1]
    # Seen: 3 % above the truth.
    assert errors[0] < 1.15 * errors[2]


def test_what_cannot_be_is_refused() -> None:
    inputs, targets = drawn()
    for num in (0, 601):
        with pytest.raises(InvalidSpec, match=f"num_experts={num} for 600 samples"):
            fit_mixture_of_experts(inputs, targets, num)
    with pytest.raises(IncompatiblePair, match=r"\(600, 2\) and targets of shape \(599,\)"):
        fit_mixture_of_experts(inputs, targets[1:], 2)
    with pytest.raises(InvalidSpec, match="No shards"):
        reduced_mixture_of_experts(inputs, targets, [], 2)
    with pytest.raises(InvalidSpec, match="No mixtures"):
        reduce_mixtures([], inputs)
    with pytest.raises(IncompatiblePair, match=r"\(2, 3\), \(3, 3\)"):
        reduce_mixtures([local_fits()[0], fit_mixture_of_experts(inputs, targets, 2, num_steps=1)], inputs)
