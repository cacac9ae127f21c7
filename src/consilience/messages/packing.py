"""Small whole numbers in few bits: what compressors put into bytes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp


def bits_for(num_values: int) -> int:
    """Bits that tell so many values apart.

    Example:
        >>> [bits_for(n) for n in (1, 2, 3, 256, 257)]
        [1, 1, 2, 8, 9]
    """
    return max(1, (num_values - 1).bit_length())


@partial(jax.jit, static_argnames="num_bits")
def pack(values: jax.Array, num_bits: int) -> jax.Array:
    """Whole numbers in `num_bits` bits each, the highest bit first, the last byte filled up with zeros.

    Args:
        values: from 0 to 2^num_bits − 1, shape (n,).
        num_bits: up to 32.

    Returns:
        Bytes, shape (⌈n · num_bits / 8⌉,).

    Example:
        >>> pack(jnp.array([1, 2, 3, 0, 3]), 2).tolist()   # 01 10 11 00, 11
        [108, 192]
    """
    places = jnp.arange(num_bits - 1, -1, -1, dtype=jnp.uint32)
    return jnp.packbits(((values.astype(jnp.uint32)[:, None] >> places) & 1).astype(jnp.uint8).reshape(-1))


@partial(jax.jit, static_argnames=("num_bits", "num_values"))
def unpack(packed: jax.Array, num_bits: int, num_values: int) -> jax.Array:
    """The numbers that `pack` put into bytes, shape (num_values,), unsigned.

    Example:
        >>> unpack(jnp.array([108, 192], jnp.uint8), 2, 5).tolist()
        [1, 2, 3, 0, 3]
    """
    bits = jnp.unpackbits(packed, count=num_bits * num_values).reshape(num_values, num_bits).astype(jnp.uint32)
    places = jnp.arange(num_bits - 1, -1, -1, dtype=jnp.uint32)
    return (bits << places).sum(axis=1, dtype=jnp.uint32)
