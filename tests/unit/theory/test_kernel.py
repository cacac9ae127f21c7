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
from consilience.theory.peer_to_peer.jacobians import LARGEST_BATCH, Jacobian
from consilience.theory.peer_to_peer.kernel import check_fits, jacobian_products, kernel

KEY = jax.random.key(1)
ROUNDING = 1e-13
"""Of sums of up to a thousand products, relative to the largest entry."""


def inputs(num_samples: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_samples, *shape))


def full_jacobian(model: Any, params: Any, x: np.ndarray) -> np.ndarray:
    """Shape (samples, outputs, parameters)."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        leaves = jax.tree.leaves(jax.jacrev(model.apply)(params, x))
        return np.concatenate([np.asarray(leaf).reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)


def generic(model: models.Model, num_outputs: int) -> models.FunctionModel:
    """The same network without `jacobian_factors`."""
    return models.from_functions(lambda key: model.init(key, (6,), num_outputs), model.apply, name=model.name)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * abs(expected).max())


WIDE = models.ntk_mlp(1, 16, bias_variance=0.3)
DEEP = models.mlp(2, 8, activation="tanh", initialiser="he")
MODULE = eqx.nn.MLP(6, 2, 5, 2, activation=jnp.tanh, key=KEY)  # holds arrays, and cannot be hashed
CASES = {
    "dense": (WIDE, (6,)),
    "dense, deep": (DEEP, (2, 3)),
    "generic": (generic(WIDE, 2), (6,)),
    "convolutional": (models.cnn((2,), kernel_size=3), (6, 6)),
    "equinox": (MODULE, (6,)),
}


@pytest.mark.parametrize("case", CASES)
def test_kernel_is_the_product_of_full_jacobians(case: str) -> None:
    model, shape = CASES[case]
    adapted = models.as_model(model)
    params = adapted.init(KEY, shape, 2)
    x1, x2 = inputs(5, *shape), inputs(3, *shape, seed=1)
    jacobian1, jacobian2 = (full_jacobian(adapted, params, x) for x in (x1, x2))
    own = kernel(model, params, x1)
    assert_close(own, np.einsum("ncp,mdp->ncmd", jacobian1, jacobian1))
    np.testing.assert_array_equal(own, own.transpose(2, 3, 0, 1))
    assert_close(kernel(model, params, x1, x2), np.einsum("ncp,mdp->ncmd", jacobian1, jacobian2))


@pytest.mark.parametrize("num_samples", [1, 3, LARGEST_BATCH, LARGEST_BATCH + 1, 2 * LARGEST_BATCH + 7])
def test_both_ways_agree_whatever_the_number_of_samples(num_samples: int) -> None:
    params, x = WIDE.init(KEY, (6,), 1), inputs(num_samples, 6)
    found = kernel(WIDE, params, x)
    assert_close(found, kernel(generic(WIDE, 1), params, x))
    np.testing.assert_array_equal(found, found.transpose(2, 3, 0, 1))
    assert_close(kernel(WIDE, params, x[:2], x), found[:2])


@pytest.mark.parametrize("model", [WIDE, generic(WIDE, 2)], ids=["dense", "generic"])
def test_blocks_that_fit_give_the_same_kernel(model: models.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    params, x1, x2 = WIDE.init(KEY, (6,), 2), inputs(21, 6), inputs(9, 6, seed=1)
    whole, cross = kernel(model, params, x1), kernel(model, params, x1, x2)
    sizes, at = [], Jacobian.at

    def recorded(self: Jacobian, inputs: np.ndarray, batch: int) -> Any:
        sizes.append(len(inputs))
        return at(self, inputs, batch)

    monkeypatch.setattr(Jacobian, "at", recorded)
    room = 5 * 8 * 146 * 2 + 12_000  # a few samples' derivatives beside the result
    found = kernel(model, params, x1, max_memory=whole.nbytes + room)
    assert max(sizes) < len(x1) < sum(sizes)
    assert_close(found, whole)
    np.testing.assert_array_equal(found, found.transpose(2, 3, 0, 1))
    assert_close(kernel(model, params, x1, x2, max_memory=cross.nbytes + room), cross)


def test_double_precision_whatever_comes_in() -> None:
    params = DEEP.init(KEY, (6,), 2)
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = inputs(4, 6).astype(np.float32)
    found = kernel(DEEP, params, x)
    np.testing.assert_array_equal(found, kernel(DEEP, double, x.astype(np.float64)))
    assert np.abs(found - found.astype(np.float32)).max() > 0
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    for model in (WIDE, generic(WIDE, 2)):
        weights = WIDE.init(KEY, (6,), 2)
        assert_close(kernel(model, weights, pixels), kernel(model, weights, pixels.astype(float)))
    assert params["layer_0"]["weight"].dtype == jnp.float32
    assert jnp.ones(1).dtype == jnp.float32  # double precision ends with the call


def test_changing_a_model_changes_its_kernel() -> None:
    """Only what cannot change is compiled once."""

    class Scaled:
        name = "scaled"
        scale = 1.0

        def init(self, key: Any, input_shape: Any, num_outputs: Any) -> Any:
            return jnp.ones((3, 1))

        def apply(self, params: Any, x: Any) -> Any:
            return self.scale * x @ params

    model, x = Scaled(), np.eye(3)
    first = kernel(model, jnp.ones((3, 1)), x)
    model.scale = 2.0
    np.testing.assert_array_equal(kernel(model, jnp.ones((3, 1)), x), 4 * first)


def test_samples_without_anything_in_common_have_a_kernel_of_zero() -> None:
    model = models.ntk_mlp(0, bias_variance=0.0)
    params = model.init(KEY, (2,), 1)
    assert not kernel(model, params, [[1.0, 0.0]], [[0.0, 1.0]]).any()
    assert not kernel(model, params, [[0.0, 0.0]]).any()


@pytest.mark.parametrize("model", [DEEP, generic(DEEP, 2)], ids=["dense", "generic"])
def test_jacobian_products_are_the_jacobian_times_directions(model: models.Model) -> None:
    params, x = DEEP.init(KEY, (6,), 2), inputs(LARGEST_BATCH + 5, 6)
    random = np.random.default_rng(2)
    directions = jax.tree.map(lambda leaf: random.normal(size=(3, *leaf.shape)), params)
    flat = np.concatenate([leaf.reshape(3, -1) for leaf in jax.tree.leaves(directions)], axis=1)
    found = jacobian_products(model, params, x, directions)
    assert_close(found, np.einsum("ncp,kp->nck", full_jacobian(DEEP, params, x), flat))
    assert_close(jacobian_products(model, params, x[:2], directions), found[:2])


# ---- what is refused ---------------------------------------------------------------------------------------------


def function(apply: Any) -> models.FunctionModel:
    return models.from_functions(lambda key: jnp.ones((6, 2)), apply, name="a function")


def looped(params: Any, x: Any) -> Any:
    """Differentiable forwards only."""
    return jax.lax.while_loop(lambda state: state[0] < 3, lambda state: (state[0] + 1, state[1] @ jnp.ones((2, 2))),
                              (0, x @ params))[1]  # fmt: skip


PARAMS = np.full((6, 2), 0.5, np.float32)
X = inputs(4, 6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: kernel(function(lambda p, x: jnp.round(x @ p)), PARAMS, X), InvalidSpec, "are zero"),
        (
            lambda: kernel(function(lambda p, x: jax.lax.stop_gradient(x @ p)), PARAMS, X, X[:1]),
            InvalidSpec,
            "are zero",
        ),
        (lambda: kernel(function(lambda p, x: (x @ p > 0).astype(int)), PARAMS, X), InvalidSpec, "int64.*logits"),
        (lambda: kernel(function(lambda p, x: (x @ p)[:, 0]), PARAMS, X), InvalidSpec, r"outputs\[:, None\]"),
        (lambda: kernel(function(lambda p, x: np.tanh(np.asarray(x @ p))), PARAMS, X), IncompatiblePair, "jax.numpy"),
        (lambda: kernel(function(looped), PARAMS, X), InvalidSpec, "not differentiate"),
        (
            lambda: kernel(function(lambda p, x: jnp.sqrt(jnp.abs(x @ p))), 0 * PARAMS, X),
            InvalidSpec,
            "samples 0 and 0 is not finite",
        ),
        (
            lambda: kernel(WIDE, WIDE.init(KEY, (6,), 1), X, np.where(np.arange(4) == 2, np.nan, 1)[:, None] * X),
            InvalidSpec,
            "samples 0 and 2 is not finite",
        ),
        (lambda: kernel(WIDE, WIDE.init(KEY, (5,), 1), X), IncompatiblePair, r"model.init\(key, \(6,\), num_outputs\)"),
        (lambda: kernel(WIDE, PARAMS, X), IncompatiblePair, "cannot be evaluated"),
        (lambda: kernel(WIDE, WIDE.init(KEY, (6,), 1), X, X[:, :5]), IncompatiblePair, r"\(6,\).*\(5,\)"),
        (lambda: kernel(function(lambda p, x: x @ p), np.ones((6, 2), int), X), InvalidSpec, "real numbers"),
        (lambda: kernel(WIDE, WIDE.init(KEY, (6,), 1), X[:0]), InvalidSpec, "one at least"),
        (lambda: kernel(WIDE, WIDE.init(KEY, (6,), 1), X + 1j), InvalidSpec, "complex128"),
        (lambda: kernel("mlp", PARAMS, X), InvalidSpec, "not a model"),
        (lambda: kernel(WIDE, WIDE.init(KEY, (6,), 1), X, max_memory=-1.0), InvalidSpec, "max_memory=-1.0"),
        (lambda: kernel(WIDE, WIDE.init(KEY, (6,), 1), X, max_memory=200), InvalidSpec, "of a single sample"),
        (
            lambda: jacobian_products(WIDE, WIDE.init(KEY, (6,), 1), X, WIDE.init(KEY, (6,), 1)),
            IncompatiblePair,
            "leading axis of directions",
        ),
    ],
)
def test_errors_of_kernels(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_a_kernel_that_does_not_fit_is_refused_before_anything_is_computed() -> None:
    params, x = WIDE.init(KEY, (6,), 10), np.zeros((4000, 6))
    with pytest.raises(
        InvalidSpec, match=r"12.8 GB, more than max_memory=8e\+09 \(8 GB\); 3162 samples would fit"
    ) as info:
        kernel(WIDE, params, x)
    assert "max_memory=1.3e+10" in str(info.value)
    check_fits(3162, 3162, 10, 8e9)
    with pytest.raises(InvalidSpec, match="1250 samples against 8000 would fit"):
        check_fits(1251, 8000, 10, 8e9)
    check_fits(1250, 8000, 10, 8e9)


def test_the_memory_that_an_error_asks_for_is_enough() -> None:
    params = WIDE.init(KEY, (6,), 1)
    with pytest.raises(InvalidSpec) as info:
        kernel(WIDE, params, X, max_memory=200)
    enough = float(str(info.value).rpartition("Write max_memory=")[2].split()[0])
    assert_close(kernel(WIDE, params, X, max_memory=enough), kernel(WIDE, params, X))
