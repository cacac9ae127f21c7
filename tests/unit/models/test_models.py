"""Networks: against NumPy and against JAX's own convolution."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consilience import models
from consilience.errors import InvalidSpec, UnknownName
from consilience.models.convolutional import patches

KEY = jax.random.key(0)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_mlp_is_equation_c1(depth):
    model = models.mlp(depth=depth, width=5)
    params = model.init(KEY, (3, 2), 4)
    x = np.random.default_rng(0).normal(size=(7, 3, 2)).astype(np.float32)
    hidden = x.reshape(7, 6)
    for d in range(depth):
        layer = params[f"layer_{d}"]
        hidden = np.maximum(hidden @ np.asarray(layer["weight"]).T + np.asarray(layer["bias"]), 0)
    readout = params[f"layer_{depth}"]
    expected = hidden @ np.asarray(readout["weight"]).T + np.asarray(readout["bias"])
    # Sums of some ten single-precision numbers.
    np.testing.assert_allclose(model.apply(params, x), expected, rtol=1e-5, atol=1e-5)


def test_standard_normal_initialisation_has_unit_variance_in_weights_and_biases():
    params = models.mlp(depth=1, width=200).init(KEY, (400,), 10)
    weight, bias = params["layer_0"]["weight"], params["layer_0"]["bias"]
    # 80,000 and 200 draws: five standard errors of a variance are 5 √(2/n).
    assert abs(float(weight.var()) - 1) < 5 * np.sqrt(2 / weight.size)
    assert abs(float(bias.var()) - 1) < 5 * np.sqrt(2 / bias.size)


@pytest.mark.parametrize(("initialiser", "gain"), [("he", 2.0), ("lecun", 1.0)])
def test_scaled_initialisations(initialiser, gain):
    params = models.mlp(depth=1, width=200, initialiser=initialiser).init(KEY, (400,), 10)
    weight = params["layer_0"]["weight"]
    assert abs(float(weight.var()) * 400 / gain - 1) < 5 * np.sqrt(2 / weight.size)  # five standard errors
    assert not params["layer_0"]["bias"].any()


def test_parameter_counts_without_running():
    assert models.num_parameters(models.mlp(depth=0), (28, 28), 10) == 784 * 10 + 10
    assert models.num_parameters(models.mlp(depth=2, width=20), (28, 28), 10) == 784 * 20 + 20 + 420 + 210
    small = models.cnn((8, 16))
    expected = (75 * 8 + 8) + (200 * 16 + 16) + (5 * 5 * 16 * 10 + 10)
    assert models.num_parameters(small, (32, 32, 3), 10) == expected


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_patches_times_matrix_is_a_convolution(stride):
    random = np.random.default_rng(1)
    images = jnp.asarray(random.normal(size=(2, 9, 8, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, 3, 5)), jnp.float32)
    expected = jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    # Sums of 27 single-precision products.
    np.testing.assert_allclose(patches(images, 3, stride) @ kernel.reshape(27, 5), expected, rtol=1e-4, atol=1e-4)


def test_equinox_instances_and_factories_agree_with_the_module():
    module = eqx.nn.MLP(6, 3, 8, 2, key=KEY)
    x = jax.random.normal(KEY, (5, 2, 3))
    expected = jax.vmap(module)(x.reshape(5, 6))
    for model in (models.from_equinox(module), models.from_equinox(lambda key: eqx.nn.MLP(6, 3, 8, 2, key=key))):
        params = model.init(KEY, (2, 3), 3)
        np.testing.assert_array_equal(model.apply(params, x), expected)
    assert models.as_model(module).name == "MLP"


def test_equinox_images_are_handed_on_when_asked():
    module = eqx.nn.Conv2d(1, 2, 3, key=KEY)
    model = models.from_equinox(eqx.nn.Sequential([module, eqx.nn.Lambda(jnp.ravel)]), flatten=False)
    params = model.init(KEY, (1, 4, 4), 8)
    assert model.apply(params, jnp.ones((3, 1, 4, 4))).shape == (3, 8)


def test_functions_as_a_model():
    model = models.from_functions(lambda key: jnp.zeros(2), lambda w, x: (x @ w)[:, None])
    assert models.num_parameters(model, (2,), 1) == 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: models.mlp(depth=-1), InvalidSpec, "depth=-1"),
        (lambda: models.mlp(depth=1, width=0), InvalidSpec, "width=0"),
        (lambda: models.mlp(depth=1, activation="rleu"), UnknownName, "'relu'"),
        (lambda: models.mlp(depth=1, initialiser="norma"), UnknownName, "'normal'"),
        (lambda: models.cnn(()), InvalidSpec, "at least one convolution"),
        (lambda: models.cnn((4, 4, 4, 4)).init(KEY, (28, 28), 10), InvalidSpec, "to nothing"),
        (lambda: models.cnn().init(KEY, (64,), 10), InvalidSpec, "needs images"),
        (lambda: models.as_model(eqx.nn.MLP), InvalidSpec, "not a model"),
        (lambda: models.from_equinox(eqx.nn.MLP), InvalidSpec, "module instance"),
        (lambda: models.make("mpl"), UnknownName, "'mlp'"),
        (
            lambda: models.num_parameters(models.from_functions(lambda k: jnp.zeros(2, int), lambda p, x: x), (1,), 1),
            InvalidSpec,
            "floating point",
        ),
    ],
)
def test_errors_say_what_is_wrong(make, error, words):
    with pytest.raises(error, match=words):
        make()
