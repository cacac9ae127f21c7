"""How much of this machine there is to use."""

from __future__ import annotations

import os


def num_processors() -> int:
    """Processors that this process may use; 1 where JAX computes on a GPU or TPU, which blocks would have to share.

    Example:
        >>> num_processors() >= 1
        True
    """
    import jax

    if jax.default_backend() != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_blocks(num_bytes: int, *, num_threads: int = 1) -> int:
    """How many blocks of that size, with so many threads each, this machine can compute at a time.

    Example:
        >>> most_blocks(2**60)
        1
    """
    return max(1, min(num_processors() // num_threads, _fitting_in_memory(num_bytes)))


def _fitting_in_memory(num_bytes: int) -> int:
    """How many things of that size fit into half of this machine's memory."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1
    return memory // 2 // max(num_bytes, 1)
