"""Compressors by name, for specs that are text."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from consilience.errors import InvalidSpec, UnknownName
from consilience.messages.compressors import QSGD, Compressor, Identity, LowRank, RandomK, Sign, Ternary, TopK, UnitSign

COMPRESSORS: Mapping[str, type[Compressor]] = MappingProxyType(
    {
        "identity": Identity,
        "top_k": TopK,
        "random_k": RandomK,
        "sign": Sign,
        "unit_sign": UnitSign,
        "qsgd": QSGD,
        "ternary": Ternary,
        "low_rank": LowRank,
    }
)
"""Name → class."""


def make_compressor(given: Compressor | str | Mapping[str, Any]) -> Compressor:
    """A compressor from its name, from a table of a name and its settings, or as it is.

    Raises:
        UnknownName: if there is no such compressor, or if it has no such setting.
        InvalidSpec: if a setting is missing or wrong.

    Example:
        >>> make_compressor({"name": "top_k", "fraction": 0.1})
        TopK(fraction=0.1)
    """
    if isinstance(given, Compressor):
        return given
    table = {"name": given} if isinstance(given, str) else dict(given)
    name = str(table.pop("name", None))
    if name not in COMPRESSORS:
        raise UnknownName.among("compressor", name, COMPRESSORS)
    known = list(inspect.signature(COMPRESSORS[name]).parameters)
    for setting in table:
        if setting not in known:
            raise UnknownName.among(f"setting of the compressor {name}", setting, known)
    try:
        return COMPRESSORS[name](**table)
    except TypeError as error:
        raise InvalidSpec(
            f"The compressor {name} lacks a setting: {error}. It takes {', '.join(known)}: write "
            f'{{name = "{name}", {known[0]} = ...}}.'
        ) from error
