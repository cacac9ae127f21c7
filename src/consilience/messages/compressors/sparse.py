"""A few of the numbers: the largest, or random ones."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.errors import InvalidSpec
from consilience.messages.coding import Coded
from consilience.messages.compressors.compressor import Compressor
from consilience.messages.packing import bits_for, pack, unpack


class Sparse(Coded):
    """Some numbers of an array and where they stand: a mask or a list of positions, whichever is shorter."""

    values: jax.Array
    """In order of position, shape (k,)."""
    positions: jax.Array
    """Bytes."""
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, array: jax.Array, positions: jax.Array) -> Sparse:
        """The numbers of `array` at some places of its flat form, shape (k,), each once."""
        flat, ordered = array.reshape(-1), jnp.sort(positions)
        if _mask_is_shorter(len(positions), flat.size):
            coded = jnp.packbits(jnp.zeros(flat.size, jnp.uint8).at[ordered].set(1))
        else:
            coded = pack(ordered, bits_for(flat.size))
        return cls(flat[ordered], coded, array.shape)

    def decode(self) -> jax.Array:
        """Zeros where nothing was sent."""
        size, k = math.prod(self.shape), len(self.values)
        if _mask_is_shorter(k, size):
            sent = jnp.unpackbits(self.positions, count=size).astype(bool)
            flat = jnp.where(sent, self.values[jnp.clip(jnp.cumsum(sent) - 1, 0)], 0)
        else:
            flat = jnp.zeros(size, self.values.dtype).at[unpack(self.positions, bits_for(size), k)].set(self.values)
        return flat.reshape(self.shape)


def _mask_is_shorter(k: int, size: int) -> bool:
    return size <= k * bits_for(size)


class SeededSparse(Coded):
    """Some numbers of an array, at places that both ends draw from the same seed, which travels too."""

    values: jax.Array
    """In the order in which places are drawn, shape (k,)."""
    seed: jax.Array
    """The data of a threefry key, shape (2,)."""
    shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, array: jax.Array, key: jax.Array, num_values: int, factor: float = 1.0) -> SeededSparse:
        """`num_values` numbers of `array` at random places, times a factor."""
        flat = array.reshape(-1)
        return cls(factor * flat[_places(key, flat.size, num_values)], jax.random.key_data(key), array.shape)

    def decode(self) -> jax.Array:
        """Zeros where nothing was sent."""
        size = math.prod(self.shape)
        places = _places(jax.random.wrap_key_data(self.seed, impl="threefry2x32"), size, len(self.values))
        return jnp.zeros(size, self.values.dtype).at[places].set(self.values).reshape(self.shape)


def _places(key: jax.Array, size: int, num_values: int) -> jax.Array:
    """`num_values` of the numbers 0 … size − 1, each once."""
    # Drawn as bits, which have one width, so that both ends and both precisions see the same places.
    return jnp.argsort(jax.random.bits(key, (size,), jnp.uint32))[:num_values]


def check_share(owner: object, fraction: Any) -> None:
    """`InvalidSpec` unless the share of numbers that travel is in (0, 1]."""
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
        raise InvalidSpec(
            f"{type(owner).__name__}(fraction={fraction!r}): the share of an array's numbers that travels is more than "
            "0 and at most 1. Write fraction=0.1, say."
        )


def num_kept(fraction: float, size: int) -> int:
    """How many of `size` numbers a share is: at least one."""
    return max(1, math.ceil(fraction * size - 1e-9))


class TopK(Compressor):
    """The numbers of the largest magnitude, with their places; zeros elsewhere.

    Source:
        A. F. Aji and K. Heafield, Sparse communication for distributed gradient descent, EMNLP 2017 [aji2017].

    Attributes:
        fraction: share of each array's numbers that travels, in (0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import num_bits
        >>> num_bits(TopK(0.01).compress(jnp.ones((100, 100), jnp.float32))) / 320_000   # 32 + 14 bits for each
        0.014375
    """

    fraction: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        check_share(self, self.fraction)

    def code(self, array: jax.Array, key: Any) -> Any:
        """The largest numbers and their places."""
        k = num_kept(self.fraction, array.size)
        return Sparse.of(array, jax.lax.top_k(jnp.abs(array.reshape(-1)), k)[1])

    def contraction(self, size: int) -> float:
        """k/n: what is left out is never larger than what a random choice leaves out."""
        return num_kept(self.fraction, size) / size


class RandomK(Compressor):
    """Numbers at random places, which travel as the seed that they are drawn from.

    Source:
        S. U. Stich, J.-B. Cordonnier and M. Jaggi, Sparsified SGD with memory, NeurIPS 2018, Definition 2.2
        [stich2018].

    Attributes:
        fraction: share of each array's numbers that travels, in (0, 1].
        unbiased: multiply them by n/k, so that the mean over draws is the array; by default they stay, which makes the
            error smaller than the array: for methods with a memory.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consilience.messages import decode
        >>> sent = RandomK(0.5, unbiased=True).compress(jnp.ones(4), jax.random.key(0, impl="threefry2x32"))
        >>> sorted(decode(sent).tolist())
        [0.0, 0.0, 2.0, 2.0]
    """

    fraction: float = eqx.field(static=True)
    unbiased: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        check_share(self, self.fraction)

    @property
    def is_unbiased(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As asked for."""
        return self.unbiased

    def code(self, array: jax.Array, key: Any) -> Any:
        """Numbers at random places, and the seed of the draw."""
        k = num_kept(self.fraction, array.size)
        return SeededSparse.of(array, key, k, array.size / k if self.unbiased else 1.0)

    def contraction(self, size: int) -> float:
        """k/n; of the unbiased form max(0, 2 − n/k)."""
        share = num_kept(self.fraction, size) / size
        return max(0.0, 2 - 1 / share) if self.unbiased else share
