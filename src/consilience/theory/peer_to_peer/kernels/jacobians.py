"""The Jacobian of a network's outputs, in double precision and a batch of samples at a time."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.models import Model, as_model

Floats = NDArray[np.float64]

Factors = list[tuple[Floats | None, Floats]]
"""For each group of parameters (a, s), shapes (samples, k) and (samples, outputs, l): derivatives a ⊗ s_c of output c.
Without an a, s_c alone. Inner products of gradients are Σ (a·a')(s_c·s'_d)."""

LARGEST_BATCH = 128
"""Samples evaluated at a time, at most: enough for matrix products at full speed, with one compilation for all sets of
more than half as many."""


@dataclass(frozen=True, eq=False)
class Jacobian:
    """∂f_c(x)/∂θ of one model at one θ.

    Attributes:
        model: the model.
        params: θ, float64 leaves.
        num_outputs: C.
        sample_bytes: memory that the factors of a sample take.
    """

    model: Model
    params: Any
    num_outputs: int
    sample_bytes: int

    @property
    def params_bytes(self) -> int:
        """Memory that θ takes."""
        import jax

        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.params))

    def at(self, inputs: NDArray[Any], batch: int) -> Factors:
        """The factors at all samples of `inputs`, `batch` of them evaluated at a time."""
        import jax

        evaluate = _compiled(self.model, _factors)
        stored: Factors = []
        for start in range(0, len(inputs), batch):
            found = evaluate(self.params, _padded(inputs[start : start + batch], batch))
            found = jax.tree.map(np.asarray, found)
            if len(inputs) <= batch:
                return jax.tree.map(lambda leaf: leaf[: len(inputs)], found)
            if not stored:
                stored = jax.tree.map(lambda leaf: np.empty((len(inputs), *leaf.shape[1:])), found)
            for into, leaf in zip(jax.tree.leaves(stored), jax.tree.leaves(found), strict=True):
                into[start : start + batch] = leaf[: len(inputs) - start]
        return stored


def jacobian(model: Any, params: Any, inputs: NDArray[Any]) -> Jacobian:
    """The Jacobian of `model` at `params`, checked on samples of the shape of `inputs`; nothing is computed.

    Call it, and what it returns, in double precision: `with jax.enable_x64(True)`.

    Raises:
        InvalidSpec: for a model that cannot be differentiated, or whose outputs are not (samples, outputs).
        IncompatiblePair: if parameters and inputs do not fit.
    """
    import jax

    model = as_model(model)
    params = double_params(model, params)
    one = inputs[:1]
    num_outputs = _num_outputs(model, params, one)
    try:
        shapes = _compiled(model, _factors).eval_shape(params, one)
    except (TypeError, ValueError) as error:
        raise InvalidSpec(
            f"JAX can evaluate the model {model.name!r} but not differentiate it with respect to its parameters "
            f"({_first_line(error)}), and linear theory needs these derivatives. Write its `apply` with differentiable "
            "functions of jax.numpy."
        ) from error
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    return Jacobian(model, params, num_outputs, numbers * np.dtype(np.float64).itemsize)


def jacobian_products(model: Any, params: Any, inputs: Any, directions: Any) -> Floats:
    """J u for some directions u in parameter space: how outputs change along them, in double precision.

    Args:
        model: a model of `cs.models` or an equinox module.
        params: θ, a pytree.
        inputs: shape (samples, ...).
        directions: a pytree like `params`, with a leading axis of directions.

    Returns:
        Shape (samples, outputs, directions).

    Raises:
        InvalidSpec: for a model that cannot be differentiated.
        IncompatiblePair: for parameters, directions or inputs that do not fit.

    Example:
        >>> import jax, numpy as np
        >>> from consilience import models
        >>> model = models.ntk_mlp(depth=0)
        >>> params = model.init(jax.random.key(0), (3,), 2)
        >>> x = np.ones((5, 3))
        >>> change = jacobian_products(model, params, x, jax.tree.map(lambda leaf: leaf[None], params))
        >>> change.shape, bool(np.allclose(change[..., 0], model.apply(params, x), atol=1e-6))
        ((5, 2, 1), True)
    """
    return outputs_and_products(model, params, inputs, directions)[1]


def outputs_and_products(model: Any, params: Any, inputs: Any, directions: Any) -> tuple[Floats, Floats]:
    """f(x, θ), shape (samples, outputs), and `jacobian_products` from the same evaluation of the network."""
    import jax

    with jax.enable_x64(True):
        x = samples("inputs", inputs)
        linear = jacobian(model, params, x)
        leaves, count = _directions(linear.params, directions)
        batch = batch_size(len(x))
        outputs, products = np.empty((len(x), linear.num_outputs)), np.empty((len(x), linear.num_outputs, count))
        derivative = _compiled(linear.model, _value_and_change)
        for k in range(count):
            direction = [jax.device_put(np.asarray(leaf[k], np.float64)) for leaf in leaves]
            for start in range(0, len(x), batch):
                value, change = derivative(linear.params, _padded(x[start : start + batch], batch), direction)
                outputs[start : start + batch] = value[: len(x) - start]
                products[start : start + batch, :, k] = change[: len(x) - start]
    return outputs, products


def samples(name: str, values: Any) -> NDArray[Any]:
    """`values` as an array of samples; real numbers in double precision, integers as they are."""
    array = np.asarray(values)
    if array.ndim == 0 or 0 in array.shape:
        raise InvalidSpec(
            f"{name} has shape {array.shape}, but derivatives are taken at samples, (samples, ...), one at least. "
            "Write x[None] for a single sample."
        )
    if array.dtype.kind in "cOSUmM":
        raise InvalidSpec(f"{name} has type {array.dtype}, but a network computes with real numbers. Give floats.")
    return array if array.dtype.kind in "biu" else array.astype(np.float64)


def batch_size(num_samples: int) -> int:
    """Samples evaluated at a time where memory does not matter: a power of two, for few compilations."""
    return min(LARGEST_BATCH, 1 << (num_samples - 1).bit_length())


def double_params(model: Model, params: Any) -> Any:
    """`params` with float64 leaves."""
    import jax
    import jax.numpy as jnp

    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(np.asarray(leaf).dtype, jnp.floating):
            raise InvalidSpec(
                f"The parameters of model {model.name!r} hold {leaf!r} at {jax.tree_util.keystr(path)!r}, which is no "
                "array of real numbers and has no derivatives. Keep constants inside `apply`."
            )
    # Cast by NumPy: JAX compiles a cast for every shape.
    return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf, np.float64)), params)


def _num_outputs(model: Model, params: Any, one: NDArray[Any]) -> int:
    """C, if `model` can be evaluated on a sample."""
    import jax
    import jax.numpy as jnp

    try:
        outputs = _compiled(model, _apply).eval_shape(params, one)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        shapes = {jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(params)}
        raise IncompatiblePair(
            f"The model {model.name!r} cannot be evaluated on samples of shape {one.shape[1:]} with parameters of "
            f"shapes {shapes} ({type(error).__name__}: {_first_line(error)}). Draw one agent's parameters for these "
            f"samples, model.init(key, {one.shape[1:]}, num_outputs), and compute with jax.numpy in `apply`."
        ) from error
    if not hasattr(outputs, "shape") or len(outputs.shape) != 2 or outputs.shape[0] != 1:
        raise InvalidSpec(
            f"The model {model.name!r} turns inputs of shape {one.shape} into outputs of shape "
            f"{getattr(outputs, 'shape', outputs)}, but a model returns (samples, outputs). Write outputs[:, None] for "
            "a single output."
        )
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise InvalidSpec(
            f"The outputs of model {model.name!r} are {outputs.dtype}, and only real numbers have derivatives. Return "
            "scores (logits) and not decisions."
        )
    return outputs.shape[1]


def _directions(params: Any, directions: Any) -> tuple[list[NDArray[Any]], int]:
    """The leaves of `directions`, in the order of those of `params`, and their number of directions."""
    import jax

    leaves, structure = jax.tree.flatten(params)
    given, its_structure = jax.tree.flatten(directions)
    arrays = [np.asarray(leaf) for leaf in given]
    count = arrays[0].shape[0] if arrays and arrays[0].ndim else 0
    expected, seen = [(count, *leaf.shape) for leaf in leaves], [array.shape for array in arrays]
    if structure != its_structure or expected != seen:
        raise IncompatiblePair(
            f"directions has leaves of shapes {seen}, but the parameters are {[leaf.shape for leaf in leaves]}. Give a "
            "pytree like the parameters, each leaf with a leading axis of directions."
        )
    return arrays, count


def _padded(inputs: NDArray[Any], batch: int) -> NDArray[Any]:
    """`inputs`, the last sample repeated to fill the batch: all batches are of one shape, and compiled once."""
    missing = batch - len(inputs)
    return np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)]) if missing else inputs


def _apply(model: Model, params: Any, inputs: Any) -> Any:
    return model.apply(params, inputs)


def _factors(model: Model, params: Any, inputs: Any) -> Any:
    """Factors of the Jacobian at a batch, the model's own if it offers them."""
    import jax

    own = getattr(model, "jacobian_factors", None)
    if own is not None:
        return own(params, inputs)

    def one(x: Any) -> Any:
        rows = jax.jacrev(lambda p: model.apply(p, x[None])[0])(params)
        return [(None, leaf.reshape(leaf.shape[0], -1)) for leaf in jax.tree.leaves(rows)]

    # Sample by sample: side by side, all of this would be held once more.
    return jax.lax.map(one, inputs)


def _value_and_change(model: Model, params: Any, inputs: Any, direction: list[Any]) -> Any:
    """The outputs of a batch, and how they change along a direction, given by its leaves."""
    import jax

    tangent = jax.tree.unflatten(jax.tree.structure(params), direction)
    return jax.jvp(lambda p: model.apply(p, inputs), (params,), (tangent,))


def _compiled(model: Model, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of `model`, compiled; once and for all calls if the model is a value that cannot change."""
    is_value = dataclasses.is_dataclass(model) and type(model).__dataclass_params__.frozen  # pyright: ignore
    try:
        return (_remembered if is_value else _remembered.__wrapped__)(model, function)
    except TypeError:  # fields that cannot be hashed: an equinox module that holds arrays
        return _remembered.__wrapped__(model, function)


@functools.lru_cache(maxsize=16)
def _remembered(model: Model, function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.jit(functools.partial(function, model))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
