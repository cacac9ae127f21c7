"""What travels, to the last bit: messages as pytrees of arrays, some of them coded.

A message is a pytree of arrays. Where an array is compressed, a `Coded` node stands in its place: it knows what
arrives, and packs into what travels. The driver of a round decodes messages when they arrive, so that no method sees a
coded one; in one process nothing needs to be packed for that, and bits are counted on what would travel.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

Message = Any


class Coded(eqx.Module):
    """Stands for an array of a message, or a part of it. What both ends know anyway is not packed."""

    @abc.abstractmethod
    def decode(self) -> Any:
        """What it stands for."""

    def pack(self) -> Any:
        """What travels of it: arrays in their tightest form. All its arrays, unless it says otherwise."""
        return jax.tree.leaves(self)

    def unpack(self, packed: Any) -> Coded:
        """The node that packs into this: the inverse of `pack`, of a node with the same shapes as this one."""
        return jax.tree.structure(self).unflatten(packed)


def _is_coded(node: Any) -> bool:
    return isinstance(node, Coded)


def decode(message: Message) -> Message:
    """The message with arrays in the place of coded ones, of one agent.

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import Sign
        >>> decode(Sign().compress({"weight": jnp.array([3.0, -1.0])}))["weight"].tolist()
        [2.0, -2.0]
    """
    return jax.tree.map(lambda node: node.decode() if _is_coded(node) else node, message, is_leaf=_is_coded)


class Weighted(Coded):
    """A message that counts with a weight: where such messages are summed, the result is (Σ w m, Σ w).

    Example:
        >>> import jax.numpy as jnp
        >>> total, weight = decode(Weighted(jnp.array([1.0, 2.0]), jnp.array(0.5)))
        >>> total.tolist(), float(weight)
        ([0.5, 1.0], 0.5)
    """

    message: Message
    """May hold coded arrays."""
    weight: jax.Array
    """Shape ()."""

    def decode(self) -> tuple[Message, jax.Array]:
        """(w m, w)."""
        return jax.tree.map(lambda leaf: self.weight.astype(leaf.dtype) * leaf, decode(self.message)), self.weight

    def pack(self) -> Any:
        """The message, packed, and the weight."""
        return packed(self.message), self.weight

    def unpack(self, packed: Any) -> Weighted:
        """The message, unpacked, and the weight."""
        message, weight = packed
        return Weighted(_unpack(self.message, message), weight)


def packed(message: Message) -> Any:
    """What travels of a message: a pytree of arrays, with packed ones in the place of coded ones.

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import EvenSteps
        >>> packed(EvenSteps(3).compress(jnp.array([1.0, -1.0, -1 / 3, 1 / 3]))).tolist()   # 11 00 01 10
        [198]
    """
    return jax.tree.map(lambda node: node.pack() if _is_coded(node) else node, message, is_leaf=_is_coded)


def _unpack(like: Message, travels: Any) -> Message:
    """The inverse of `packed`, for a message of the same shapes as `like`."""
    return jax.tree.map(
        lambda node, arrays: node.unpack(arrays) if _is_coded(node) else arrays, like, travels, is_leaf=_is_coded
    )


def encode(message: Message) -> bytes:
    """The bytes that travel: all arrays of the packed message one after the other, booleans as single bits.

    Structure, shapes and static fields do not travel: both ends know them, since they run the same method.

    Example:
        >>> import jax.numpy as jnp
        >>> len(encode({"weight": jnp.zeros((2, 3), jnp.float32), "count": jnp.zeros((), jnp.int8)}))
        25
    """
    return b"".join(_to_bytes(np.asarray(leaf)) for leaf in jax.tree.leaves(packed(message)))


def _to_bytes(array: np.ndarray) -> bytes:
    if array.dtype.kind == "b":
        return np.packbits(array).tobytes()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def from_bytes(data: bytes, like: Message) -> Message:
    """The message that `encode` made these bytes of: its exact inverse.

    Args:
        data: bytes.
        like: a message of the same structure, shapes and dtypes, whose values do not matter.

    Raises:
        ValueError: if there are too few or too many bytes for such a message.

    Example:
        >>> import jax.numpy as jnp
        >>> message = {"weight": jnp.array([1.5, -2.0], jnp.float32)}
        >>> from_bytes(encode(message), like=message)["weight"].tolist()
        [1.5, -2.0]
    """
    needed = num_bits(like) // 8
    if len(data) != needed:
        raise ValueError(f"{len(data)} bytes are no message like this one, which takes {needed}.")
    leaves, start = [], 0
    travels = jax.eval_shape(packed, like)
    for leaf in jax.tree.leaves(travels):
        shape, dtype = jnp.shape(leaf), _dtype(leaf)
        size = _num_bytes(shape, dtype)
        leaves.append(_from_bytes(data[start : start + size], shape, dtype))
        start += size
    return _unpack(like, jax.tree.structure(travels).unflatten(leaves))


def _from_bytes(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return np.unpackbits(np.frombuffer(data, np.uint8), count=math.prod(shape)).astype(bool).reshape(shape)
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _dtype(leaf: Any) -> np.dtype:
    # JAX would take double precision for single outside of a block that allows it.
    return np.dtype(leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf))


def _num_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return -(-math.prod(shape) // 8) if dtype.kind == "b" else math.prod(shape) * dtype.itemsize


def num_bits(message: Message) -> int:
    """8 × the length of `encode(message)`, also for a message whose shapes only are known (`jax.eval_shape`).

    Example:
        >>> import jax.numpy as jnp
        >>> num_bits(jnp.zeros(10, jnp.float32)), num_bits(())
        (320, 0)
    """
    # Shapes of double precision are counted as such also where JAX is not told to compute in it.
    with jax.enable_x64(True):
        leaves = jax.tree.leaves(jax.eval_shape(packed, message))
    return 8 * sum(_num_bytes(jnp.shape(leaf), _dtype(leaf)) for leaf in leaves)
