"""The methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from consilience.algorithms.algorithm import Algorithm
from consilience.algorithms.choco_sgd import ChocoSGD
from consilience.algorithms.compressed_gradients import (
    distributed_lion,
    error_feedback_sgd,
    qsgd,
    sign_sgd,
    tern_grad,
)
from consilience.algorithms.compression_layers import PartialAveraging
from consilience.algorithms.decaying_coupling import DecayingCoupling
from consilience.algorithms.decentralised_adam import DecentralisedAdam
from consilience.algorithms.decentralised_sgd import DGD, AdaptThenCombine, CombineThenAdapt, Isolated
from consilience.algorithms.diffusive_coupling import DiffusiveCoupling
from consilience.algorithms.elastic_averaging import AsynchronousElasticAveraging, ElasticAveraging
from consilience.algorithms.entry import Entry
from consilience.algorithms.exact_diffusion import ExactDiffusion
from consilience.algorithms.fed_dip import FedDIP
from consilience.algorithms.fed_prox import FedProx
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.fish_mask import FishMask
from consilience.algorithms.gossip_methods import fed_sgd, synchronous_local_sgd
from consilience.algorithms.gradient_tracking import GradientTracking
from consilience.algorithms.matched_averaging import MatchedAveraging
from consilience.algorithms.one_byte import JustOneByte
from consilience.algorithms.one_shot import distributed_nearest_neighbour, reduced_mixture_of_experts
from consilience.algorithms.optimisers import OPTIMISERS
from consilience.algorithms.parallel_sgd import ParallelSGD
from consilience.algorithms.power_sgd import PowerSGD
from consilience.algorithms.push_sum import PushSum
from consilience.algorithms.relay_sum import RelaySum
from consilience.algorithms.scaffold import Scaffold
from consilience.algorithms.scaled_local_sgd import SCALINGS, OASISScaling, ScaledLocalSGD
from consilience.algorithms.triadic_coupling import TriadicCoupling
from consilience.algorithms.variance_corrected import VarianceCorrected
from consilience.errors import InvalidSpec, UnknownName
from consilience.graphs import Matchings, Merge, OnePeerExponential, RandomPairs
from consilience.messages import COMPRESSORS, MEMORIES, TopK
from consilience.naming import make_named


def _entry(name: str, method: Callable[..., Algorithm], **representative: Any) -> tuple[str, Entry]:
    return name, Entry(name, method, MappingProxyType(representative))


_RATES: Mapping[str, Any] = MappingProxyType({"learning_rate": 0.1, "weight_decay": 1e-2})
_STEPS: Mapping[str, Any] = MappingProxyType({**_RATES, "local_steps": 2})

_CATALOG: Mapping[str, Entry] = MappingProxyType(
    dict(
        [
            # Mixing of parameters over a graph.
            _entry("isolated", Isolated, **_STEPS),
            _entry("diffusive_coupling", DiffusiveCoupling, **_RATES, coupling=3.0),
            _entry(
                "triadic_coupling",
                TriadicCoupling,
                **_RATES,
                coupling=2.0,
                triadic_coupling=4.0,
                selectivity=0.5,
            ),
            _entry("decaying_coupling", DecayingCoupling, **_RATES, coupling=3.0, noise_scale=0.1),
            _entry("dgd", DGD, **_RATES),
            _entry("adapt_then_combine", AdaptThenCombine, **_STEPS),
            _entry("combine_then_adapt", CombineThenAdapt, **_STEPS),
            _entry("gradient_tracking", GradientTracking, **_RATES),
            _entry("exact_diffusion", ExactDiffusion, **_RATES),
            _entry("push_sum", PushSum, **_RATES),
            _entry("relay_sum", RelaySum, **_RATES),
            _entry("variance_corrected", VarianceCorrected, **_STEPS),
            _entry("choco_sgd", ChocoSGD, **_RATES, consensus_step=0.3, compressor=TopK(0.3)),
            _entry("decentralised_adam", DecentralisedAdam, **_RATES, accumulation=2),
            # Means over everybody, from time to time.
            _entry("local_sgd", synchronous_local_sgd, **_STEPS),
            _entry("scaled_local_sgd", ScaledLocalSGD, **_STEPS, scaling=OASISScaling(decay=0.9, floor=0.1)),
            _entry("federated_averaging", FederatedAveraging, **_STEPS),
            _entry("fed_sgd", fed_sgd, **_RATES),
            _entry("fed_prox", FedProx, **_STEPS, proximity=0.5),
            _entry("scaffold", Scaffold, **_STEPS),
            _entry("matched_averaging", MatchedAveraging, **_STEPS),
            _entry("partial_averaging", PartialAveraging, **_STEPS),
            _entry("fed_dip", FedDIP, **_STEPS, sparsity=0.5, initial_sparsity=0.2, period=2, horizon=4),
            _entry("elastic_averaging", ElasticAveraging, **_RATES, elasticity=0.2),
            _entry("asynchronous_elastic_averaging", AsynchronousElasticAveraging, **_RATES, elasticity=0.3, period=2),
            # Means of gradients, compressed or not.
            _entry("parallel_sgd", ParallelSGD, **_RATES),
            _entry("sign_sgd", sign_sgd, **_RATES),
            _entry("error_feedback_sgd", error_feedback_sgd, **_RATES, compressor=TopK(0.3)),
            _entry("qsgd", qsgd, **_RATES),
            _entry("tern_grad", tern_grad, **_RATES),
            _entry("distributed_lion", distributed_lion, learning_rate=0.1, decoupled_decay=1e-2),
            _entry("power_sgd", PowerSGD, **_RATES),
            _entry("fish_mask", FishMask, **_RATES, fraction=0.3),
            _entry("one_byte", JustOneByte, learning_rate=0.1),
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
        "scaling": ("scaling", SCALINGS),
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


_OTHERS: Mapping[str, Entry] = MappingProxyType(
    {
        name: Entry(name, method, MappingProxyType({}), kind)
        for name, method, kind in (
            ("random_pairwise_gossip", RandomPairs, "schedule"),
            ("matcha", Matchings, "schedule"),
            ("one_peer_exponential", OnePeerExponential, "schedule"),
            ("single_merging", Merge, "schedule"),
            ("distributed_nearest_neighbour", distributed_nearest_neighbour, "one shot"),
            ("reduced_mixture_of_experts", reduced_mixture_of_experts, "one shot"),
        )
    }
)


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
