"""Counter-based randomness: a key is a pure function of (seed, purpose, counters).

Nothing carries a generator along. A mini-batch order, for example, depends on the seed, the agent and the epoch, but
not on the coupling: replicas that differ only in hyper-parameters see the same batches (common random numbers).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience.errors import InvalidSpec

if TYPE_CHECKING:
    import jax

MAX_SEED = 2**32 - 1


class Purpose(enum.IntEnum):
    """What random numbers are for. The values are part of every result's identity: never renumber them."""

    INITIAL_PARAMETERS = 0
    BATCH_ORDER = 1
    AGENT = 2
    SHARED = 3
    PARTITION = 4
    GRAPH = 5
    SCHEDULE = 6
    SUBSET = 7
    BOOTSTRAP = 8
    DISORDER = 9
    INITIAL_MAGNETIZATION = 10


def check_seed(seed: Any) -> int:
    """`seed` as an int; `InvalidSpec` unless it is a whole number in [0, 2³² − 1]."""
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)) or not 0 <= seed <= MAX_SEED:
        raise InvalidSpec(
            f"seed={seed!r}: a seed is a whole number from 0 to {MAX_SEED}, from which every random key of a run "
            "is derived. Write seed=0, say."
        )
    return int(seed)


def key(seed: Any, purpose: Purpose, *counters: Any) -> jax.Array:
    """The JAX key of (seed, purpose, counters); `seed` and counters may be traced integers.

    Example:
        >>> a, b = key(0, Purpose.AGENT, 5, 1), key(0, Purpose.AGENT, 5, 2)   # round 5, agents 1 and 2
        >>> bool((a == b).all())
        False
    """
    import jax

    result = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), int(purpose))
    for counter in counters:
        result = jax.random.fold_in(result, counter)
    return result


def generator(seed: int, purpose: Purpose, *counters: int) -> np.random.Generator:
    """The NumPy generator of (seed, purpose, counters), for randomness on the host.

    Example:
        >>> generator(0, Purpose.PARTITION, 3).integers(10) == generator(0, Purpose.PARTITION, 3).integers(10)
        np.True_
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(purpose), *map(int, counters)])))
