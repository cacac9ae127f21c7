"""The network in NTK parametrisation, and Jacobians of dense layers as outer products."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from consilience import models
from consilience.errors import InvalidSpec, UnknownName

PHI = {"relu": lambda x: np.maximum(x, 0), "erf": scipy.special.erf, "tanh": np.tanh}


def inputs(num_samples: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_samples, *shape))


def drawn(model: models.Model, input_shape: tuple[int, ...], num_outputs: int) -> Any:
    """Parameters in double precision, drawn by NumPy: JAX would compile for every shape."""
    random = np.random.default_rng(1)
    shapes = models.parameter_shapes(model, input_shape, num_outputs)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape), shapes)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_ntk_mlp_is_its_equation(depth: int, activation: str) -> None:
    model = models.ntk_mlp(depth, width=7, activation=activation, weight_variance=1.7, bias_variance=0.3)
    params, x = drawn(model, (3, 2), 4), inputs(5, 3, 2)
    signal = x.reshape(5, 6)
    for d in range(depth + 1):
        layer = params[f"layer_{d}"]
        signal = np.sqrt(1.7 / signal.shape[1]) * signal @ layer["weight"].T + np.sqrt(0.3) * layer["bias"]
        signal = PHI[activation](signal) if d < depth else signal
    with jax.enable_x64(True):
        outputs = np.asarray(jax.jit(model.apply)(params, x))
    np.testing.assert_allclose(outputs, signal, rtol=0, atol=1e-13)  # sums of ten numbers of order one
    assert jax.eval_shape(model.apply, params, x).dtype == jnp.float32


def test_every_parameter_is_standard_normal() -> None:
    """As in `mlp`, whose variances `test_models` looks at."""
    pair = models.ntk_mlp(1, width=5, bias_variance=0.0), models.mlp(1, width=5, initialiser="normal")
    drawn, expected = jax.jit(lambda key: [model.init(key, (3,), 2) for model in pair])(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, drawn, expected)


def test_without_bias_variance_biases_are_parameters_of_no_effect() -> None:
    model = models.ntk_mlp(1, width=5, bias_variance=0.0)
    params, x = drawn(model, (3,), 2), inputs(4, 3)
    gradient = jax.jit(jax.grad(lambda p: model.apply(p, x).sum()))(params)
    for layer in gradient.values():
        assert not layer["bias"].any()
        assert layer["weight"].any()


def test_ntk_mlp_has_a_name_in_specs() -> None:
    model = models.make("ntk_mlp", depth=2, width=30, bias_variance=0.5)
    assert model == models.ntk_mlp(2, 30, bias_variance=0.5)
    assert model.name == "ntk_mlp(depth=2, width=30)"


MODELS = [
    models.mlp(0),
    models.mlp(11, 3, activation="erf"),  # layer_10 sorts before layer_2
    models.ntk_mlp(2, 5, bias_variance=0.4),
    models.ntk_mlp(1, 5, activation="tanh", bias_variance=0.0),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{type(model).__name__} {model.depth}")
def test_outer_products_of_the_factors_are_the_jacobian(model: models.MLP | models.NTKMLP) -> None:
    num_samples, num_outputs = 4, 3
    params, x = drawn(model, (2, 3), num_outputs), inputs(num_samples, 2, 3)
    with jax.enable_x64(True):
        both = jax.jit(lambda p: (jax.jacrev(model.apply)(p, x), model.jacobian_factors(p, x)))
        expected, factors = jax.tree.map(np.asarray, both(params))
    assert len(factors) == model.depth + 1
    for d, (read, sensitivity) in enumerate(factors):
        found = np.einsum("ni,ncj->ncji", read, sensitivity)
        layer = expected[f"layer_{d}"]
        scale = max(float(abs(leaf).max()) for leaf in layer.values())
        # Products of at most a dozen layers, each a sum of some five terms.
        np.testing.assert_allclose(found[..., :-1], layer["weight"], rtol=0, atol=1e-13 * scale)
        np.testing.assert_allclose(found[..., -1], layer["bias"], rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"depth": -1}, InvalidSpec, r"ntk_mlp\(depth=-1"),
        ({"depth": 1, "width": 0}, InvalidSpec, "at least one neuron"),
        ({"depth": 1, "activation": "rleu"}, UnknownName, "'relu'"),
        ({"depth": 1, "weight_variance": 0.0}, InvalidSpec, "weight_variance=0.0"),
        ({"depth": 1, "weight_variance": float("inf")}, InvalidSpec, "weight_variance=inf"),
        ({"depth": 1, "bias_variance": -0.1}, InvalidSpec, "bias_variance=-0.1"),
        ({"depth": 1, "bias_variance": float("nan")}, InvalidSpec, "bias_variance=nan"),
    ],
)
def test_errors_of_ntk_mlp(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        models.ntk_mlp(**arguments)
