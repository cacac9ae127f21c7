"""Exactly so many of the largest numbers, without sorting.

A threshold is found bit by bit, by counting: XLA sorts on CPUs many times slower than it counts.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp


def magnitudes(array: jax.Array) -> jax.Array:
    """Unsigned whole numbers that are ordered as the magnitudes of floating-point ones.

    Example:
        >>> bits = magnitudes(jnp.array([-2.0, 0.5, 0.0]))
        >>> bool(bits[0] > bits[1]), int(bits[2])
        (True, 0)
    """
    # Without the sign, the bits of floating-point numbers are ordered as they are.
    width = 8 * array.dtype.itemsize
    return jax.lax.bitcast_convert_type(jnp.abs(array), jnp.dtype(f"uint{width}"))


@functools.partial(jax.jit, static_argnames="num_kept")  # or its loops would be compiled anew in each call
def mask_of_largest(numbers: jax.Array, num_kept: int) -> jax.Array:
    """Where the largest numbers are; of equal ones at the threshold the first.

    Args:
        numbers: unsigned whole numbers, shape (n,).
        num_kept: how many of them, from 1 to n.

    Returns:
        Booleans, shape (n,), of which `num_kept` are true.

    Example:
        >>> mask_of_largest(jnp.array([3, 9, 3, 1], jnp.uint32), 2).tolist()
        [True, True, False, False]
    """
    if num_kept == numbers.size:
        return jnp.ones(numbers.shape, bool)
    one = jnp.ones((), numbers.dtype)
    num_bits = 8 * numbers.dtype.itemsize

    def raised(step: jax.Array, threshold: jax.Array) -> jax.Array:
        """The threshold with one bit more, if enough numbers reach it."""
        higher = threshold | (one << (num_bits - 1 - step).astype(numbers.dtype))
        return jnp.where((numbers >= higher).sum() >= num_kept, higher, threshold)

    threshold = jax.lax.fori_loop(0, num_bits, raised, jnp.zeros((), numbers.dtype))
    above, equal = numbers > threshold, numbers == threshold
    missing, places = num_kept - above.sum(), jnp.arange(numbers.size, dtype=jnp.int32)

    def moved(step: jax.Array, end: jax.Array) -> jax.Array:
        """The end of the equal numbers that are taken, further on if there are not too many before it."""
        further = end + (jnp.int32(1) << (place_bits - 1 - step))
        return jnp.where((equal & (places < further)).sum() <= missing, further, end)

    place_bits = int(numbers.size).bit_length()
    end = jax.lax.fori_loop(0, place_bits, moved, jnp.int32(0))
    return above | (equal & (places < end))
