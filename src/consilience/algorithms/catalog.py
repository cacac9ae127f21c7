"""The methods by name, and what their docstrings say of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from consilience.algorithms.algorithm import Algorithm
from consilience.algorithms.choco_sgd import ChocoSGD
from consilience.algorithms.decentralised_sgd import DGD, AdaptThenCombine, CombineThenAdapt, Isolated
from consilience.algorithms.diffusive_coupling import DiffusiveCoupling
from consilience.algorithms.elastic_averaging import AsynchronousElasticAveraging, ElasticAveraging
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.parallel_sgd import ParallelSGD
from consilience.algorithms.triadic_coupling import TriadicCoupling
from consilience.errors import InvalidSpec, UnknownName
from consilience.messages import QSGD, TopK

SECTIONS = ("Update rule", "Reduces to", "Cost", "Assumes", "Known limits", "Source", "Attributes", "Example")
"""Sections that the docstring of every catalog entry has."""


@dataclass(frozen=True)
class Entry:
    """A method of the catalog.

    Attributes:
        name: the name by which specs and the command line know it.
        algorithm: the class.
        representative: hyper-parameters of a typical instance, on which the conformance suite runs.
    """

    name: str
    algorithm: type[Algorithm]
    representative: Mapping[str, Any] = field(repr=False)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.algorithm) or "").splitlines()[0]

    @property
    def sections(self) -> dict[str, str]:
        """The sections of the docstring, by name."""
        text = inspect.getdoc(self.algorithm) or ""
        parts = re.split(rf"^({'|'.join(SECTIONS)}):\s*$", text, flags=re.MULTILINE)
        return {name: inspect.cleandoc(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}

    def example(self) -> Algorithm:
        """A typical instance."""
        return self.algorithm(**self.representative)


def _entry(name: str, algorithm: type[Algorithm], **representative: Any) -> tuple[str, Entry]:
    return name, Entry(name, algorithm, MappingProxyType(representative))


_CATALOG: Mapping[str, Entry] = MappingProxyType(
    dict(
        [
            _entry("isolated", Isolated, learning_rate=0.1, weight_decay=1e-2, local_steps=2),
            _entry("diffusive_coupling", DiffusiveCoupling, learning_rate=0.1, coupling=3.0, weight_decay=1e-2),
            _entry(
                "triadic_coupling",
                TriadicCoupling,
                learning_rate=0.1,
                coupling=2.0,
                triadic_coupling=4.0,
                selectivity=0.5,
                weight_decay=1e-2,
            ),
            _entry("dgd", DGD, learning_rate=0.1, weight_decay=1e-2),
            _entry("adapt_then_combine", AdaptThenCombine, learning_rate=0.1, weight_decay=1e-2, local_steps=2),
            _entry("combine_then_adapt", CombineThenAdapt, learning_rate=0.1, weight_decay=1e-2, local_steps=2),
            _entry("federated_averaging", FederatedAveraging, learning_rate=0.1, weight_decay=1e-2, local_steps=2),
            _entry("elastic_averaging", ElasticAveraging, learning_rate=0.1, elasticity=0.2, weight_decay=1e-2),
            _entry("parallel_sgd", ParallelSGD, learning_rate=0.1, weight_decay=1e-2, compressor=QSGD(levels=7)),
            _entry(
                "choco_sgd",
                ChocoSGD,
                learning_rate=0.1,
                weight_decay=1e-2,
                consensus_step=0.3,
                compressor=TopK(0.3),
            ),
            _entry(
                "asynchronous_elastic_averaging",
                AsynchronousElasticAveraging,
                learning_rate=0.1,
                elasticity=0.3,
                weight_decay=1e-2,
                period=2,
            ),
        ]
    )
)


def catalog() -> Mapping[str, Entry]:
    """All methods, by name.

    Example:
        >>> catalog()["dgd"].algorithm.__name__
        'DGD'
        >>> catalog()["dgd"].sections["Cost"]
        'one message of the size of the model per edge and round; one gradient.'
    """
    return _CATALOG


def make(name: str, **hyper_parameters: Any) -> Algorithm:
    """The method of that name; for specs that are text.

    Raises:
        UnknownName: if there is no such method.
        InvalidSpec: for a hyper-parameter that it does not have.

    Example:
        >>> make("dgd", learning_rate=0.1)
        DGD(learning_rate=0.1)
    """
    if name not in _CATALOG:
        raise UnknownName.among("method", name, _CATALOG)
    algorithm = _CATALOG[name].algorithm
    known = list(inspect.signature(algorithm).parameters)
    for parameter in hyper_parameters:
        if parameter not in known:
            raise UnknownName.among(f"hyper-parameter of {name}", parameter, known)
    try:
        return algorithm(**hyper_parameters)
    except TypeError as error:
        raise InvalidSpec(f"{name} lacks a hyper-parameter: {error}. It takes {', '.join(known)}.") from error
