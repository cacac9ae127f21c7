"""The methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from consilience.algorithms.algorithm import Algorithm
from consilience.algorithms.choco_sgd import ChocoSGD
from consilience.algorithms.decentralised_sgd import DGD, AdaptThenCombine, CombineThenAdapt, Isolated
from consilience.algorithms.diffusive_coupling import DiffusiveCoupling
from consilience.algorithms.elastic_averaging import AsynchronousElasticAveraging, ElasticAveraging
from consilience.algorithms.entry import Entry
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.optimisers import OPTIMISERS
from consilience.algorithms.parallel_sgd import ParallelSGD
from consilience.algorithms.triadic_coupling import TriadicCoupling
from consilience.errors import InvalidSpec, UnknownName
from consilience.messages import COMPRESSORS, MEMORIES, QSGD, TopK
from consilience.naming import make_named


def _entry(name: str, method: Callable[..., Algorithm], **representative: Any) -> tuple[str, Entry]:
    return name, Entry(name, method, MappingProxyType(representative))


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


_SLOTS: Mapping[str, tuple[str, Mapping[str, Callable[..., Any]]]] = MappingProxyType(
    {
        "compressor": ("compressor", COMPRESSORS),
        "broadcast_compressor": ("compressor", COMPRESSORS),
        "memory": ("memory", MEMORIES),
        "optimiser": ("optimiser", OPTIMISERS),
        "local": ("optimiser", OPTIMISERS),
        "server": ("optimiser", OPTIMISERS),
    }
)
"""Hyper-parameters that hold a part of a method → what it is, and where it is found by name."""


def catalog() -> Mapping[str, Entry]:
    """All methods, by name.

    Example:
        >>> catalog()["dgd"].method.__name__
        'DGD'
        >>> catalog()["dgd"].sections["Cost"]
        'one message of the size of the model per edge and round; one gradient.'
    """
    return _CATALOG


_OTHERS: Mapping[str, Entry] = MappingProxyType({})


def other_methods() -> Mapping[str, Entry]:
    """Methods that are no algorithms, by name: schedules of who mixes when, and what is fitted once and put together.

    Example:
        >>> set(other_methods()).isdisjoint(catalog())
        True
    """
    return _OTHERS


def make(name: str, **hyper_parameters: Any) -> Algorithm:
    """The method of that name; for specs that are text.

    Slots may be named, too: compressor="sign", or compressor={"name": "top_k", "fraction": 0.1}.

    Raises:
        UnknownName: if there is no such method, hyper-parameter, or part of that name.
        InvalidSpec: for a hyper-parameter that is missing or wrong.

    Example:
        >>> make("choco_sgd", learning_rate=0.1, compressor={"name": "top_k", "fraction": 0.1}).compressor
        TopK(fraction=0.1)
    """
    if name not in _CATALOG:
        raise UnknownName.among("method", name, _CATALOG)
    method = _CATALOG[name].method
    known = list(inspect.signature(method).parameters)
    for parameter in hyper_parameters:
        if parameter not in known:
            raise UnknownName.among(f"hyper-parameter of {name}", parameter, known)
    made = {key: make_named(*_SLOTS[key], value) if key in _SLOTS else value for key, value in hyper_parameters.items()}
    try:
        return method(**made)
    except TypeError as error:
        raise InvalidSpec(f"{name} lacks a hyper-parameter: {error}. It takes {', '.join(known)}.") from error
