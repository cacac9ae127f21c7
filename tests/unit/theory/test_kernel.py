"""The empirical kernel against the full Jacobian, in one block and in many, and what it refuses."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience import models
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.theory.peer_to_peer.kernels.jacobians import LARGEST_BATCH, Jacobian
from consilience.theory.peer_to_peer.kernels.kernel import check_fits, jacobian_products, kernel

ROUNDING = 1e-13
"""Of sums of up to a thousand products, relative to the largest entry."""


def inputs(num_samples: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_samples, *shape))


def drawn(model: models.Model, input_shape: tuple[int, ...], num_outputs: int) -> Any:
    """Parameters in single precision, drawn by NumPy: JAX would compile for every shape."""
    random = np.random.default_rng(1)
    shapes = models.parameter_shapes(model, input_shape, num_outputs)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)


def full_jacobian(model: models.Model, params: Any, x: np.ndarray) -> np.ndarray:
    """Shape (samples, outputs, parameters)."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        leaves = jax.tree.leaves(jax.jit(jax.jacrev(model.apply))(params, x))
        return np.concatenate([np.asarray(leaf).reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * abs(expected).max())


DENSE = models.ntk_mlp(1, 16, bias_variance=0.3)
GENERIC = models.from_functions(lambda key: DENSE.init(key, (6,), 2), DENSE.apply, name="without jacobian_factors")
MODULE = eqx.nn.MLP(6, 2, 5, 1, activation=jnp.tanh, key=jax.random.key(0))  # holds arrays, so it cannot be hashed
CASES = {
    "dense": (DENSE, (2, 3)),
    "dense, deep": (models.mlp(2, 8, activation="tanh", initialiser="he"), (6,)),
    "convolutional": (models.cnn((2,), kernel_size=3), (6, 6)),
    "equinox": (MODULE, (6,)),
}


@pytest.mark.parametrize("case", CASES)
def test_kernel_is_the_product_of_full_jacobians(case: str) -> None:
    model, shape = CASES[case]
    adapted = models.as_model(model)
    params, x = drawn(adapted, shape, 2), inputs(7, *shape)
    jacobian = full_jacobian(adapted, params, x)
    expected = np.einsum("ncp,mdp->ncmd", jacobian, jacobian)
    found = kernel(model, params, x)
    assert_close(found, expected)
    np.testing.assert_array_equal(found, found.transpose(2, 3, 0, 1))
    assert_close(kernel(model, params, x[:6], x[2:]), expected[:6, :, 2:])


def test_both_ways_agree_for_more_samples_than_a_batch() -> None:
    params, x = drawn(DENSE, (6,), 2), inputs(2 * LARGEST_BATCH + 7, 6)
    found = kernel(DENSE, params, x)
    assert_close(found, kernel(GENERIC, params, x))
    np.testing.assert_array_equal(found, found.transpose(2, 3, 0, 1))
    assert_close(kernel(DENSE, params, x[:2], x), found[:2])


@pytest.mark.parametrize(("model", "numbers"), [(DENSE, 7 + 17 + 2 * (16 + 2)), (GENERIC, 2 * 146)])
def test_blocks_that_fit_give_the_same_kernel(
    model: models.Model, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With memory for the derivatives of forty samples beside the result, `numbers` per sample."""
    params, x = drawn(DENSE, (6,), 2), inputs(LARGEST_BATCH + 9, 6)
    whole = kernel(model, params, x)
    sizes, at = [], Jacobian.at

    def recorded(self: Jacobian, inputs: np.ndarray, batch: int) -> Any:
        sizes.append(len(inputs))
        return at(self, inputs, batch)

    monkeypatch.setattr(Jacobian, "at", recorded)
    room = 40 * numbers * 8 + 2 * 146 * 8
    found = kernel(model, params, x, max_memory=whole.nbytes + room)
    assert max(sizes) < 40 < 2 * len(x) < sum(sizes)
    assert_close(found, whole)
    np.testing.assert_array_equal(found, found.transpose(2, 3, 0, 1))
    sizes.clear()
    cross = kernel(model, params, x[:60], x[60:], max_memory=whole[:60, :, 60:].nbytes + room)
    assert max(sizes) < 40 < 2 * len(x) - 60 < sum(sizes)
    assert_close(cross, whole[:60, :, 60:])


def test_double_precision_whatever_comes_in() -> None:
    params, x = drawn(DENSE, (6,), 2), inputs(4, 6).astype(np.float32)
    found = kernel(DENSE, params, x)
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    np.testing.assert_array_equal(found, kernel(DENSE, double, x.astype(np.float64)))
    assert np.abs(found - found.astype(np.float32)).max() > 0
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert_close(kernel(DENSE, params, pixels), kernel(DENSE, params, pixels.astype(float)))
    assert jnp.asarray(1.0).dtype == jnp.float32  # double precision ends with the call


def test_changing_a_model_changes_its_kernel() -> None:
    """Only what cannot change is compiled once."""

    class Scaled:
        name = "scaled"
        scale = 1.0

        def init(self, key: Any, input_shape: Any, num_outputs: Any) -> Any:
            return np.ones((3, 1), np.float32)

        def apply(self, params: Any, x: Any) -> Any:
            return self.scale * x @ params

    model, x = Scaled(), np.eye(3)
    params = model.init(None, (3,), 1)
    first = kernel(model, params, x)
    model.scale = 2.0
    np.testing.assert_array_equal(kernel(model, params, x), 4 * first)


def test_samples_without_anything_in_common_have_a_kernel_of_zero() -> None:
    model = models.ntk_mlp(0, bias_variance=0.0)
    params = drawn(model, (2,), 1)
    assert not kernel(model, params, [[1.0, 0.0]], [[0.0, 1.0]]).any()
    assert not kernel(model, params, [[0.0, 0.0]]).any()


def test_jacobian_products_are_the_jacobian_times_directions() -> None:
    params, x = drawn(DENSE, (6,), 2), inputs(LARGEST_BATCH + 5, 6)
    random = np.random.default_rng(2)
    directions = jax.tree.map(lambda leaf: random.normal(size=(3, *leaf.shape)), params)
    flat = np.concatenate([leaf.reshape(3, -1) for leaf in jax.tree.leaves(directions)], axis=1)
    found = jacobian_products(DENSE, params, x, directions)
    assert_close(found, np.einsum("ncp,kp->nck", full_jacobian(DENSE, params, x), flat))


# ---- what is refused ---------------------------------------------------------------------------------------------


WEIGHTS, X = drawn(DENSE, (6,), 1), inputs(4, 6)
MATRIX = np.full((6, 2), 0.5, np.float32)


def of(apply: Any, params: Any = MATRIX) -> np.ndarray:
    """The kernel of a function at X."""
    return kernel(models.from_functions(lambda key: MATRIX, apply, name="a function"), params, X)


def looped(params: Any, x: Any) -> Any:
    """Differentiable forwards only."""
    step = lambda state: (state[0] + 1, 2 * state[1])  # noqa: E731
    return jax.lax.while_loop(lambda state: state[0] < 3, step, (0, x @ params))[1]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: of(lambda p, x: jnp.round(x @ p)), InvalidSpec, "are zero"),
        (lambda: of(lambda p, x: (x @ p > 0).astype(int)), InvalidSpec, "int64.*logits"),
        (lambda: of(lambda p, x: (x @ p)[:, 0]), InvalidSpec, r"outputs\[:, None\]"),
        (lambda: of(lambda p, x: np.tanh(np.asarray(x @ p))), IncompatiblePair, "jax.numpy"),
        (lambda: of(looped), InvalidSpec, "not differentiate"),
        (lambda: of(lambda p, x: jnp.sqrt(jnp.abs(x @ p)), 0 * MATRIX), InvalidSpec, "samples 0 and 0 is not finite"),
        (lambda: of(lambda p, x: x @ p, MATRIX.astype(int)), InvalidSpec, "real numbers"),
        (lambda: kernel(DENSE, WEIGHTS, X, np.nan * X[:3]), InvalidSpec, "samples 0 and 0 is not finite"),
        (lambda: kernel(DENSE, drawn(DENSE, (5,), 1), X), IncompatiblePair, r"model.init\(key, \(6,\), num_outputs\)"),
        (lambda: kernel(DENSE, MATRIX, X), IncompatiblePair, "cannot be evaluated"),
        (lambda: kernel(DENSE, WEIGHTS, X, X[:, :5]), IncompatiblePair, r"\(6,\).*\(5,\)"),
        (lambda: kernel(DENSE, WEIGHTS, X[:0]), InvalidSpec, "one at least"),
        (lambda: kernel(DENSE, WEIGHTS, X + 1j), InvalidSpec, "complex128"),
        (lambda: kernel("mlp", WEIGHTS, X), InvalidSpec, "not a model"),
        (lambda: kernel(DENSE, WEIGHTS, X, max_memory=-1.0), InvalidSpec, "max_memory=-1.0"),
        (lambda: kernel(DENSE, WEIGHTS, X, max_memory=200), InvalidSpec, "of a single sample"),
        (lambda: jacobian_products(DENSE, WEIGHTS, X, WEIGHTS), IncompatiblePair, "leading axis of directions"),
    ],
)
def test_errors_of_kernels(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_the_sample_that_is_not_finite_is_named() -> None:
    x = inputs(LARGEST_BATCH + 9, 6)
    x[LARGEST_BATCH + 2, 4] = np.nan
    with pytest.raises(InvalidSpec, match=f"samples {LARGEST_BATCH + 2} and 0 is not finite"):
        kernel(DENSE, WEIGHTS, x)
    with pytest.raises(InvalidSpec, match=f"samples 0 and {LARGEST_BATCH + 2} is not finite"):
        kernel(DENSE, WEIGHTS, X, x)


def test_a_kernel_that_does_not_fit_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(InvalidSpec, match=r"12.8 GB, more than max_memory=8e\+09 \(8 GB\)") as info:
        kernel(DENSE, drawn(DENSE, (6,), 10), np.zeros((4000, 6)))
    assert "; 3162 samples would fit" in str(info.value)
    assert "max_memory=1.3e+10" in str(info.value)
    check_fits(3162, 3162, 10, 8e9)
    with pytest.raises(InvalidSpec, match="1250 samples against 8000 would fit"):
        check_fits(1251, 8000, 10, 8e9)
    check_fits(1250, 8000, 10, 8e9)


def test_the_memory_that_an_error_asks_for_is_enough() -> None:
    with pytest.raises(InvalidSpec) as info:
        kernel(DENSE, WEIGHTS, X, max_memory=200)
    enough = float(str(info.value).rpartition("Write max_memory=")[2].split()[0])
    assert_close(kernel(DENSE, WEIGHTS, X, max_memory=enough), kernel(DENSE, WEIGHTS, X))
