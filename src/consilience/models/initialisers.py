"""How weights and biases are drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from consilience.errors import UnknownName

if TYPE_CHECKING:
    import jax

INITIALISERS = ("normal", "he", "lecun")


def check_initialiser(name: str) -> None:
    """`UnknownName` unless `name` is an initialiser."""
    if name not in INITIALISERS:
        raise UnknownName.among("initialiser", name, INITIALISERS)


def dense_layer(initialiser: str, key: jax.Array, num_inputs: int, num_outputs: int) -> dict[str, Any]:
    """Weight and bias of one dense layer W x + b (paper 001, Eq. (C1)), float32.

    "normal" draws every weight and bias from N(0, 1), as paper 001 does; "he" and "lecun" draw weights from
    N(0, 2/inputs) and N(0, 1/inputs) and start biases at zero. Always drawn in single precision, so that a
    run in double precision starts from the same point.

    Args:
        initialiser: one of `INITIALISERS`.
        key: JAX key.
        num_inputs: fan-in.
        num_outputs: fan-out.

    Returns:
        "weight" of shape (num_outputs, num_inputs), "bias" of shape (num_outputs,).

    Example:
        >>> import jax
        >>> layer = dense_layer("normal", jax.random.key(0), 784, 20)
        >>> layer["weight"].shape, layer["bias"].shape
        ((20, 784), (20,))
    """
    import jax
    import jax.numpy as jnp

    check_initialiser(initialiser)
    weight_key, bias_key = jax.random.split(key)
    # Drawn input by input, and kept neuron by neuron.
    weight = jax.random.normal(weight_key, (num_inputs, num_outputs), dtype=jnp.float32).T
    if initialiser == "normal":
        return {"weight": weight, "bias": jax.random.normal(bias_key, (num_outputs,), dtype=jnp.float32)}
    gain = 2.0 if initialiser == "he" else 1.0
    return {"weight": weight * math.sqrt(gain / num_inputs), "bias": jnp.zeros((num_outputs,), dtype=jnp.float32)}
