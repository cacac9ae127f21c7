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
from consilience.messages.selection import magnitudes, mask_of_largest


class Sparse(Coded):
    """An array of which some numbers travel, with their places: a mask or a list, whichever is shorter."""

    values: jax.Array
    """Zero where nothing is sent."""
    kept: jax.Array
    """Where something is, booleans of the same shape; `num_kept` of them are true."""
    num_kept: int = eqx.field(static=True)

    @classmethod
    def largest(cls, array: jax.Array, num_kept: int) -> Sparse:
        """The numbers of the largest magnitude."""
        kept = mask_of_largest(magnitudes(array.reshape(-1)), num_kept).reshape(array.shape)
        return cls(jnp.where(kept, array, 0), kept, num_kept)

    def decode(self) -> jax.Array:
        """Zeros where nothing was sent."""
        return self.values

    def pack(self) -> Any:
        """Numbers in the order of their places, and the places."""
        places = jnp.nonzero(self.kept.reshape(-1), size=self.num_kept)[0]
        size = self.kept.size
        coded = self.kept.reshape(-1) if self._mask_is_shorter else pack(places, bits_for(size))
        return self.values.reshape(-1)[places], coded

    def unpack(self, packed: Any) -> Sparse:
        """Numbers at their places again."""
        values, coded = packed
        size, shape = math.prod(self.kept.shape), self.kept.shape
        places = (
            jnp.nonzero(coded, size=self.num_kept)[0]
            if self._mask_is_shorter
            else unpack(jnp.asarray(coded), bits_for(size), self.num_kept)
        )
        dense = jnp.zeros(size, values.dtype).at[places].set(values)
        return Sparse(dense.reshape(shape), jnp.zeros(size, bool).at[places].set(True).reshape(shape), self.num_kept)

    @property
    def _mask_is_shorter(self) -> bool:
        size = math.prod(self.kept.shape)
        return size <= self.num_kept * bits_for(size)


class SeededSparse(Coded):
    """An array of which some numbers travel, at places that both ends draw from the same seed, which travels too."""

    values: jax.Array
    """Zero where nothing is sent."""
    seed: jax.Array
    """The data of a threefry key, shape (2,)."""
    num_kept: int = eqx.field(static=True)

    @classmethod
    def drawn(cls, array: jax.Array, key: jax.Array, num_kept: int, factor: float = 1.0) -> SeededSparse:
        """Numbers of `array` at random places, times a factor."""
        kept = _random_mask(key, array.size, num_kept).reshape(array.shape)
        return cls(jnp.where(kept, factor * array, 0), jax.random.key_data(key), num_kept)

    def decode(self) -> jax.Array:
        """Zeros where nothing was sent."""
        return self.values

    def pack(self) -> Any:
        """Numbers in the order of their places, and the seed."""
        return self.values.reshape(-1)[self._places(self.seed)], self.seed

    def unpack(self, packed: Any) -> SeededSparse:
        """Numbers at their places again."""
        values, seed = packed
        dense = jnp.zeros(math.prod(self.values.shape), values.dtype).at[self._places(seed)].set(values)
        return SeededSparse(dense.reshape(self.values.shape), seed, self.num_kept)

    def _places(self, seed: Any) -> jax.Array:
        key = jax.random.wrap_key_data(jnp.asarray(seed), impl="threefry2x32")
        return jnp.nonzero(_random_mask(key, math.prod(self.values.shape), self.num_kept), size=self.num_kept)[0]


def _random_mask(key: jax.Array, size: int, num_kept: int) -> jax.Array:
    """`num_kept` of so many places, at random."""
    # Drawn as bits, which have one width, so that both ends and both precisions see the same places.
    return mask_of_largest(jax.random.bits(key, (size,), jnp.uint32), num_kept)


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
        return Sparse.largest(array, k)

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
        return SeededSparse.drawn(array, key, k, array.size / k if self.unbiased else 1.0)

    def contraction(self, size: int) -> float:
        """k/n; of the unbiased form max(0, 2 − n/k)."""
        share = num_kept(self.fraction, size) / size
        return max(0.0, 2 - 1 / share) if self.unbiased else share
