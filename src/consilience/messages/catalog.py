"""Compressors and memories by name, for specs that are text."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from consilience.messages.compressors import (
    QSGD,
    Compressor,
    EvenSteps,
    Identity,
    LowRank,
    Majority,
    RandomK,
    Sign,
    Ternary,
    TopK,
    UnitSign,
)
from consilience.messages.memory import Differences, ErrorFeedback, Memory, NoMemory
from consilience.naming import make_named

COMPRESSORS: Mapping[str, type[Compressor]] = MappingProxyType(
    {
        "identity": Identity,
        "top_k": TopK,
        "random_k": RandomK,
        "sign": Sign,
        "unit_sign": UnitSign,
        "majority": Majority,
        "even_steps": EvenSteps,
        "qsgd": QSGD,
        "ternary": Ternary,
        "low_rank": LowRank,
    }
)
"""Name → class."""

MEMORIES: Mapping[str, type[Memory]] = MappingProxyType(
    {"none": NoMemory, "error_feedback": ErrorFeedback, "differences": Differences}
)
"""Name → class."""


def make_compressor(given: Any) -> Compressor:
    """A compressor from its name, from a table of a name and its settings, or as it is.

    Raises:
        UnknownName: if there is no such compressor, or if it has no such setting.
        InvalidSpec: if a setting is missing or wrong.

    Example:
        >>> make_compressor({"name": "top_k", "fraction": 0.1})
        TopK(fraction=0.1)
    """
    return make_named("compressor", COMPRESSORS, given)
