"""The kernel of infinite width against numerical integrals over Gaussians, and against draws of finite networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import scipy.special

from consilience import models
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory.peer_to_peer.kernels import infinite_width
from consilience.theory.peer_to_peer.kernels.infinite_width import infinite_width_kernel
from consilience.theory.peer_to_peer.kernels.kernel import kernel

QUADRATURE = 1e-11
"""Relative: what 200 × 200 nodes and a Gaussian cut at 10 standard deviations leave, with a margin of ten."""
PAIRS = {
    "oblique": ([1.0, -2.0, 0.5], [0.3, 1.0, 2.0]),
    "obtuse": ([1.0, 0.5, 0.0], [-1.0, 0.2, 0.1]),
    "nearly parallel": ([1.0, 2.0, 3.0], [1.0, 2.0, 3.1]),
    "of unequal size": ([0.1, 0.0, 0.2], [5.0, -3.0, 2.0]),
}
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)

Function = Callable[[np.ndarray], np.ndarray]


def expectation(of: Function, support: float, variance1: float, inner: float, variance2: float) -> float:
    """E[g(u) g(u')] over a Gaussian pair, of a g that vanishes below `support` and is smooth above it."""
    root1 = np.sqrt(variance1)
    slope, root2 = inner / root1, np.sqrt(variance2 - inner**2 / variance1)

    def interval(low: Any) -> tuple[np.ndarray, np.ndarray]:
        low = np.clip(low, -10.0, 10.0)
        half = (10.0 - low) / 2
        return low[..., None] + half[..., None] * (1 + NODES), half[..., None] * WEIGHTS

    z1, weight1 = interval(np.asarray(support / root1))
    z2, weight2 = interval((support - slope * z1) / root2)  # where u' = slope z1 + root2 z2 enters the support
    values = of(root1 * z1)[:, None] * of(slope * z1[:, None] + root2 * z2)
    density = np.exp(-(z1[:, None] ** 2 + z2**2) / 2) / (2 * np.pi)
    return float((values * density * weight1[:, None] * weight2).sum())


def mean_square(phi: Function, variance: float) -> float:
    """E[φ(u)²], half by half."""
    z = 5.0 * (1 + NODES)
    both = phi(np.sqrt(variance) * z) ** 2 + phi(-np.sqrt(variance) * z) ** 2
    return float((5.0 * WEIGHTS * both * np.exp(-(z**2) / 2)).sum() / np.sqrt(2 * np.pi))


def by_integration(
    x1: Any, x2: Any, depth: int, activation: str, weight_variance: float, bias_variance: float
) -> tuple[float, float]:
    """Σ and Θ at a pair, every expectation integrated numerically."""
    phi, slope, support = {
        "relu": (lambda u: np.maximum(u, 0), lambda u: (u >= 0) * 1.0, 0.0),
        "erf": (scipy.special.erf, lambda u: 2 / np.sqrt(np.pi) * np.exp(-(u**2)), -np.inf),
    }[activation]
    one, two = np.asarray(x1), np.asarray(x2)
    affine = lambda moment: weight_variance * moment + bias_variance  # noqa: E731
    variance1, inner, variance2 = (affine(a @ b / len(a)) for a, b in ((one, one), (one, two), (two, two)))
    tangent = inner
    for _ in range(depth):
        tangent *= weight_variance * expectation(slope, support, variance1, inner, variance2)
        inner = affine(expectation(phi, support, variance1, inner, variance2))
        variance1, variance2 = (affine(mean_square(phi, v)) for v in (variance1, variance2))
        tangent += inner
    return inner, tangent


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(("activation", "weight_variance", "bias_variance"), [("relu", 2.0, 0.1), ("erf", 1.3, 0.2)])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_kernel_is_what_integration_gives(
    depth: int, activation: str, weight_variance: float, bias_variance: float, pair: str
) -> None:
    expected = by_integration(*PAIRS[pair], depth, activation, weight_variance, bias_variance)
    theta = infinite_width_kernel(depth, activation, weight_variance, bias_variance)
    x1, x2 = (np.array([x]) for x in PAIRS[pair])
    found = theta.covariance(x1, x2).item(), theta(x1, x2).item()
    np.testing.assert_allclose(found, expected, rtol=QUADRATURE)
    np.testing.assert_allclose(theta(np.concatenate([x1, x2]))[0, 1], expected[1], rtol=QUADRATURE)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_kernels_are_the_means_over_draws_of_a_narrow_network(activation: str) -> None:
    """With one hidden layer the means are exact at any width; 4000 draws, five standard errors, both signs."""
    model = models.ntk_mlp(1, 8, activation=activation, weight_variance=1.5, bias_variance=0.2)
    x = np.array([[1.0, -0.5], [-0.3, 0.8], [-1.0, -1.0]])
    theta = infinite_width_kernel(1, activation, 1.5, 0.2)

    def moments(params: Any) -> tuple[Any, Any]:
        factors = model.jacobian_factors(params, x)
        tangent = sum((a @ a.T) * (s[:, 0] @ s[:, 0].T) for a, s in factors)
        outputs = model.apply(params, x)
        return outputs @ outputs.T, tangent

    random = np.random.default_rng(0)
    shapes = models.parameter_shapes(model, (2,), 1)
    params = jax.tree.map(lambda leaf: random.normal(size=(4000, *leaf.shape)).astype(np.float32), shapes)
    draws = jax.jit(jax.vmap(moments))(params)
    for samples, expected in zip(draws, (theta.covariance(x), theta(x)), strict=True):
        samples = np.asarray(samples, np.float64)
        error = 5 * samples.std(axis=0) / np.sqrt(len(samples))
        assert (np.abs(samples.mean(axis=0) - expected) < error).all()
        assert expected.min() < 0 < expected.max() or activation == "relu"


def test_affine_and_linear_networks() -> None:
    x = np.random.default_rng(0).normal(size=(6, 2, 2))
    affine = 1.5 * np.einsum("nij,mij->nm", x, x) / 4 + 0.2
    np.testing.assert_allclose(infinite_width_kernel(0, "relu", 1.5, 0.2)(x), affine, rtol=1e-14)
    model = models.ntk_mlp(0, weight_variance=1.5, bias_variance=0.2)
    params = jax.tree.map(lambda leaf: np.ones(leaf.shape), models.parameter_shapes(model, (2, 2), 1))
    np.testing.assert_allclose(kernel(model, params, x)[:, 0, :, 0], affine, rtol=0, atol=1e-14)
    hidden = 1.5 * affine + 0.2
    linear = infinite_width_kernel(1, "linear", 1.5, 0.2)
    np.testing.assert_allclose(linear(x), hidden + 1.5 * affine, rtol=1e-14)
    np.testing.assert_allclose(linear.covariance(x), hidden, rtol=1e-14)


@pytest.mark.parametrize("activation", ["relu", "erf", "linear"])
def test_symmetric_with_an_exact_diagonal_in_blocks_of_any_size(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(1).normal(size=(11, 5))
    x[3] = 0.0
    theta = infinite_width_kernel(2, activation)
    whole = theta(x)
    np.testing.assert_array_equal(whole, whole.T)
    assert np.linalg.eigvalsh(whole)[0] > -1e-14 * whole.max()
    # Off the diagonal ReLU's kernel has a cusp, and equal samples are equal to rounding: √1e-16 = 1e-8.
    np.testing.assert_allclose(theta(x, x.copy()), whole, rtol=1e-8, atol=1e-14)
    monkeypatch.setattr(infinite_width, "_BLOCK", 30)
    np.testing.assert_allclose(theta(x), whole, rtol=1e-14, atol=1e-15)  # BLAS sums depend on shapes
    np.testing.assert_array_equal(theta(x), theta(x).T)
    np.testing.assert_allclose(theta(x, x[:4]), whole[:, :4], rtol=1e-8, atol=1e-14)


def test_relu_keeps_sizes_exactly_on_the_diagonal() -> None:
    """σ_w² = 2 and no biases: Σ is 2|x|²/d in every layer, and Θ its multiple."""
    x = np.random.default_rng(2).normal(size=(50, 784)) * np.logspace(-3, 3, 50)[:, None]
    expected = 2 * np.square(x).mean(axis=1)
    for depth in (1, 2, 5):
        theta = infinite_width_kernel(depth, "relu", 2.0, 0.0)
        # A few roundings per layer; from the cosine of a rounded product the error would be 1e-8.
        np.testing.assert_allclose(np.diag(theta(x)), (depth + 1) * expected, rtol=1e-14)
        np.testing.assert_allclose(np.diag(theta.covariance(x)), expected, rtol=1e-14)


def test_zero_inputs_without_biases() -> None:
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    for activation in ("relu", "erf", "linear"):
        found = infinite_width_kernel(2, activation, 2.0, 0.0)(x)
        assert np.isfinite(found).all()
        assert not found[0].any()
        assert found[1, 1] > 0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: infinite_width_kernel(-1), InvalidSpec, "depth=-1"),
        (lambda: infinite_width_kernel(1.5), InvalidSpec, "depth=1.5"),  # pyright: ignore
        (lambda: infinite_width_kernel(1, "tanh"), UnknownName, "closed form.*relu, erf, linear"),
        (lambda: infinite_width_kernel(1, "relu", 0.0), InvalidSpec, "weight_variance=0.0"),
        (lambda: infinite_width_kernel(1, "relu", 2.0, -0.1), InvalidSpec, "bias_variance=-0.1"),
        (lambda: infinite_width_kernel(1)([1.0, 2.0]), InvalidSpec, r"shape \(2,\)"),
        (lambda: infinite_width_kernel(1)([["a"]]), InvalidSpec, "real numbers"),
        (lambda: infinite_width_kernel(1)([[np.nan]]), InvalidSpec, "not finite"),
        (lambda: infinite_width_kernel(1)([[1.0]], [[1.0, 2.0]]), IncompatiblePair, "1 features and one of x2 2"),
    ],
)
def test_errors_of_the_infinite_width_kernel(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
