"""The exception tree.

    ConsilienceError
    ├── InvalidSpec (ValueError)          a value that cannot describe an experiment
    │   ├── UnknownName                   a name that nothing is registered under; carries the nearest names
    │   └── IncompatiblePair              two valid parts that cannot work together
    ├── DataError (ValueError)            a data set that is missing, damaged or malformed
    ├── NotEnoughMemory (MemoryError)     a block of replicas that does not fit, found before or while it runs
    └── StoreError (RuntimeError)         a store that cannot be read or written

    StabilityWarning (UserWarning)        a run that the linear theory says will diverge
    WastefulWarning (UserWarning)         a compressor that saves nothing
    MismatchWarning (UserWarning)         parts that run together, but not as the method is meant

Every message is one paragraph: the value seen, why it cannot work, what to write instead.
Divergence is not an exception: it is an outcome, recorded in the result.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConsilienceError(Exception):
    """Base class of every error that this package raises on purpose."""


class InvalidSpec(ConsilienceError, ValueError):
    """A value that cannot describe an experiment: wrong shape, sign, range or type."""


class UnknownName(InvalidSpec):
    """A name that nothing is registered under."""

    @classmethod
    def among(cls, kind: str, name: object, known: Iterable[str]) -> UnknownName:
        """The error for `name`, which is no `kind`, with the nearest of the `known` names.

        Example:
            >>> str(UnknownName.among("data set", "mnits", ["digits", "mnist"]))
            "'mnits' is not a data set. Did you mean 'mnist'? Known: digits, mnist."
        """
        known = list(known)
        nearest = difflib.get_close_matches(str(name), known, n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(repr(n) for n in nearest)}?" if nearest else ""
        article = "an" if kind[0] in "aeiou" else "a"
        return cls(f"{name!r} is not {article} {kind}.{hint} Known: {', '.join(known)}.")


class IncompatiblePair(InvalidSpec):
    """Two parts, each valid, that cannot work together (an algorithm and a graph, say)."""


class DataError(ConsilienceError, ValueError):
    """A data set that is missing, damaged or malformed."""


class NotEnoughMemory(ConsilienceError, MemoryError):
    """A block of replicas that does not fit into memory."""


class StoreError(ConsilienceError, RuntimeError):
    """A result store that cannot be read or written."""


class WastefulWarning(UserWarning):
    """A compressor whose messages are not smaller than what they stand for."""


class StabilityWarning(UserWarning):
    """A run whose parameters will diverge according to the linear theory of its coupling."""


class MismatchWarning(UserWarning):
    """Parts of an experiment that run together, but not as the method is meant: what is given has no use, say."""
