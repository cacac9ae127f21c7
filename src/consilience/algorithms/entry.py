"""An entry of the catalog: a method, and what its docstring says of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from consilience.algorithms.algorithm import Algorithm

SECTIONS = ("Update rule", "Reduces to", "Cost", "Assumes", "Known limits", "Source", "Attributes", "Example")
"""Sections that the docstring of every method has. A function that composes one has "Args" for "Attributes"."""

_HEADINGS = re.compile(rf"^({'|'.join((*SECTIONS, 'Args', 'Returns', 'Raises'))}):\s*$", re.MULTILINE)
_CITATION = re.compile(r"\[([a-z]+\d{4}[a-z]?)\]")


@dataclass(frozen=True)
class Entry:
    """A method of the catalog.

    Attributes:
        name: the name by which specs and the command line know it.
        method: a class of algorithms, or a function that composes one of slots; or a class or function of another kind.
        representative: hyper-parameters of a typical instance, on which the conformance suite runs.
        kind: "algorithm", "schedule" or "one shot".
    """

    name: str
    method: Callable[..., Any]
    representative: Mapping[str, Any] = field(repr=False)
    kind: str = "algorithm"

    @property
    def text(self) -> str:
        """The whole docstring."""
        return inspect.getdoc(self.method) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.text.partition("\n")[0]

    @cached_property
    def sections(self) -> dict[str, str]:
        """The sections of the docstring, by name; "Attributes" also where they are arguments of a function."""
        parts = _HEADINGS.split(self.text)
        found = {name: inspect.cleandoc(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}
        if "Args" in found:
            found["Attributes"] = found.pop("Args")
        return {name: found[name] for name in SECTIONS if name in found}

    @property
    def citations(self) -> list[str]:
        """Keys of `references.bib` in the section "Source", in order."""
        return list(dict.fromkeys(_CITATION.findall(self.sections.get("Source", ""))))

    @property
    def needs(self) -> tuple[str, ...]:
        """What the graph, the mixing matrix and the schedules must offer; names of `REQUIREMENTS`."""
        if self.kind != "algorithm":
            return ()
        example = self.example()
        return (
            *example.requires,
            *(("undirected",) if example.per_edge and "undirected" not in example.requires else ()),
        )

    def example(self) -> Algorithm:
        """A typical instance of an algorithm."""
        return self.method(**self.representative)
