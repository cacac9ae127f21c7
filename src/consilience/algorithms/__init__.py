"""Who learns how: the interface, its oracle `run_round`, and the catalog of methods."""

from __future__ import annotations

from consilience.algorithms.algorithm import (
    LEARNER,
    REQUIREMENTS,
    SERVER,
    Algorithm,
    Context,
    Inbox,
    Local,
    Message,
    State,
    check_pair,
    descend,
    local_sgd,
    regularised,
)
from consilience.algorithms.catalog import catalog, make, other_methods
from consilience.algorithms.checks import accepted_graph, check
from consilience.algorithms.choco_sgd import ChocoSGD
from consilience.algorithms.citations import cite, references
from consilience.algorithms.decentralised_sgd import DGD, AdaptThenCombine, CombineThenAdapt, Isolated
from consilience.algorithms.diffusive_coupling import DiffusiveCoupling
from consilience.algorithms.elastic_averaging import AsynchronousElasticAveraging, ElasticAveraging
from consilience.algorithms.entry import SECTIONS, Entry
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.optimisers import OPTIMISERS, Adam, Lion, Momentum, Optimiser, Plain
from consilience.algorithms.parallel_sgd import ParallelSGD
from consilience.algorithms.parameters_as_state import LocalSGD, LocalSteps, ParametersAsState
from consilience.algorithms.run_round import Network, contexts, deliver, run_round
from consilience.algorithms.triadic_coupling import TriadicCoupling

__all__ = [
    "DGD",
    "LEARNER",
    "OPTIMISERS",
    "REQUIREMENTS",
    "SECTIONS",
    "SERVER",
    "Adam",
    "AdaptThenCombine",
    "Algorithm",
    "AsynchronousElasticAveraging",
    "ChocoSGD",
    "CombineThenAdapt",
    "Context",
    "DiffusiveCoupling",
    "ElasticAveraging",
    "Entry",
    "FederatedAveraging",
    "Inbox",
    "Isolated",
    "Lion",
    "Local",
    "LocalSGD",
    "LocalSteps",
    "Message",
    "Momentum",
    "Network",
    "Optimiser",
    "ParallelSGD",
    "ParametersAsState",
    "Plain",
    "State",
    "TriadicCoupling",
    "accepted_graph",
    "catalog",
    "check",
    "check_pair",
    "cite",
    "contexts",
    "deliver",
    "descend",
    "local_sgd",
    "make",
    "other_methods",
    "references",
    "regularised",
    "run_round",
]
