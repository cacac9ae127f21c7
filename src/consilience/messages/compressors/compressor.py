"""What a compressor is."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax

from consilience.messages.coding import Message


class Compressor(eqx.Module):
    """Puts fewer bits in the place of the arrays of a message, one array at a time.

    Subclasses implement `code`. What changes shapes (how many numbers travel, in how many bits) is static.
    """

    is_unbiased: ClassVar[bool] = False
    """Whether the mean over its randomness of what is decoded is what was compressed."""

    def compress(self, message: Message, key: jax.Array | None = None) -> Message:
        """The message with a `Coded` node in the place of each array that gains by it.

        Args:
            message: a pytree of floating-point arrays.
            key: for compressors that draw random numbers.

        Example:
            >>> import jax.numpy as jnp
            >>> from consilience.messages import TopK, decode
            >>> decode(TopK(0.5).compress(jnp.array([1.0, -3.0, 0.5, 2.0]))).tolist()
            [0.0, -3.0, 0.0, 2.0]
        """
        leaves, structure = jax.tree.flatten(message)
        keys = [None if key is None else jax.random.fold_in(key, index) for index in range(len(leaves))]
        return structure.unflatten([self.code(leaf, own) for leaf, own in zip(leaves, keys, strict=True)])

    @abc.abstractmethod
    def code(self, array: jax.Array, key: Any) -> Any:
        """What travels in the place of one array: a `Coded` node, or the array itself."""

    @abc.abstractmethod
    def contraction(self, size: int) -> float:
        """The largest known δ in [0, 1] with E‖C(x) − x‖² ≤ (1 − δ) ‖x‖² for all arrays of `size` numbers.

        0 if the error may be larger than what is compressed: such compressors need no memory, but must be unbiased.
        """


class Identity(Compressor):
    """Everything travels as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> Identity().compress(jnp.array([1.0, 2.0])).tolist()
        [1.0, 2.0]
    """

    is_unbiased = True

    def code(self, array: jax.Array, key: Any) -> Any:
        """The array itself."""
        return array

    def contraction(self, size: int) -> float:
        """1: nothing is lost."""
        return 1.0
