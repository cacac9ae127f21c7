"""What the laboratory asks of a network: parameters from a key, outputs from parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from consilience.errors import InvalidSpec

if TYPE_CHECKING:
    import jax

Params = Any
"""A pytree of floating-point arrays: everything that is trained, coupled and sent."""


@runtime_checkable
class Model(Protocol):
    """A network family. Two pure functions; the parameters live outside.

    `init` draws one agent's parameters, `apply` evaluates a batch. Both are traced by JAX. Models are compared, and
    results identified, by `name` and by their fields, so a model is best written as a frozen dataclass.

    A model made of dense layers may also offer `jacobian_factors(params, inputs)`, a list of pairs of arrays (a, s) of
    shapes (batch, k) and (batch, outputs, l), whose outer products a ⊗ s_c are the derivatives of output c with respect
    to all parameters, in any order. Kernels of wide networks then cost their width, and not their parameters.
    """

    @property
    def name(self) -> str:
        """Short name for tables and file names."""
        ...

    def init(self, key: jax.Array, input_shape: tuple[int, ...], num_outputs: int) -> Params:
        """Parameters of one agent, for inputs of shape `input_shape` (without a batch axis)."""
        ...

    def apply(self, params: Params, inputs: jax.Array) -> jax.Array:
        """Outputs (logits, for classification) of shape (batch, outputs) for inputs (batch, *input_shape)."""
        ...


def parameter_shapes(model: Model, input_shape: tuple[int, ...], num_outputs: int) -> Params:
    """The pytree of one agent's parameters as `jax.ShapeDtypeStruct`s, without computing anything.

    Raises:
        InvalidSpec: if the model's parameters are not all floating-point arrays.
    """
    import jax
    import jax.numpy as jnp

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0, impl="threefry2x32"), input_shape, num_outputs))
    wrong = [f"{jax.tree_util.keystr(path)}: {leaf.dtype}" for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
             if not jnp.issubdtype(leaf.dtype, jnp.floating)]  # fmt: skip
    if wrong:
        raise InvalidSpec(
            f"The parameters of model {model.name!r} hold arrays that are not floating point ({', '.join(wrong)}), and "
            "only real numbers can be trained and averaged. Keep constants inside `apply`."
        )
    return shapes


def num_parameters(model: Model, input_shape: tuple[int, ...], num_outputs: int) -> int:
    """Number of trainable numbers of one agent, without running the model.

    Example:
        >>> from consilience import models
        >>> models.num_parameters(models.mlp(depth=1, width=20), (28, 28), 10)
        15910
    """
    import jax

    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(parameter_shapes(model, input_shape, num_outputs)))
