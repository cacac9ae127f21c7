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
from consilience.algorithms.entry import SECTIONS, Entry
from consilience.algorithms.exact_diffusion import ExactDiffusion
from consilience.algorithms.fed_dip import FedDIP
from consilience.algorithms.fed_prox import FedProx
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.fish_mask import FishMask
from consilience.algorithms.gossip_methods import fed_sgd, synchronous_local_sgd
from consilience.algorithms.gradient_tracking import GradientTracking
from consilience.algorithms.matched_averaging import MatchedAveraging, match_units, matched_average, permute_units
from consilience.algorithms.one_byte import JustOneByte, replay
from consilience.algorithms.one_shot import (
    MixtureOfExperts,
    Reduction,
    distributed_nearest_neighbour,
    fit_mixture_of_experts,
    reduce_mixtures,
    reduced_mixture_of_experts,
)
from consilience.algorithms.optimisers import OPTIMISERS, Adam, Lion, Momentum, Optimiser, Plain
from consilience.algorithms.parallel_sgd import ParallelSGD
from consilience.algorithms.parameters_as_state import LocalSGD, LocalSteps, ParametersAsState
from consilience.algorithms.power_sgd import PowerSGD
from consilience.algorithms.push_sum import PushSum
from consilience.algorithms.relay_sum import RelaySum
from consilience.algorithms.run_round import Network, contexts, deliver, run_round
from consilience.algorithms.scaffold import Scaffold
from consilience.algorithms.scaled_local_sgd import (
    SCALINGS,
    AdamScaling,
    NoScaling,
    OASISScaling,
    RMSPropScaling,
    ScaledLocalSGD,
    Scaling,
)
from consilience.algorithms.triadic_coupling import TriadicCoupling
from consilience.algorithms.variance_corrected import VarianceCorrected

__all__ = [
    "DGD",
    "LEARNER",
    "OPTIMISERS",
    "REQUIREMENTS",
    "SCALINGS",
    "SECTIONS",
    "SERVER",
    "Adam",
    "AdamScaling",
    "AdaptThenCombine",
    "Algorithm",
    "AsynchronousElasticAveraging",
    "ChocoSGD",
    "CombineThenAdapt",
    "Context",
    "DecayingCoupling",
    "DecentralisedAdam",
    "DiffusiveCoupling",
    "ElasticAveraging",
    "Entry",
    "ExactDiffusion",
    "FedDIP",
    "FedProx",
    "FederatedAveraging",
    "FishMask",
    "GradientTracking",
    "Inbox",
    "Isolated",
    "JustOneByte",
    "Lion",
    "Local",
    "LocalSGD",
    "LocalSteps",
    "MatchedAveraging",
    "Message",
    "MixtureOfExperts",
    "Momentum",
    "Network",
    "NoScaling",
    "OASISScaling",
    "Optimiser",
    "ParallelSGD",
    "ParametersAsState",
    "PartialAveraging",
    "Plain",
    "PowerSGD",
    "PushSum",
    "RMSPropScaling",
    "Reduction",
    "RelaySum",
    "Scaffold",
    "ScaledLocalSGD",
    "Scaling",
    "State",
    "TriadicCoupling",
    "VarianceCorrected",
    "accepted_graph",
    "catalog",
    "check",
    "check_pair",
    "cite",
    "contexts",
    "deliver",
    "descend",
    "distributed_lion",
    "distributed_nearest_neighbour",
    "error_feedback_sgd",
    "fed_sgd",
    "fit_mixture_of_experts",
    "local_sgd",
    "make",
    "match_units",
    "matched_average",
    "other_methods",
    "permute_units",
    "qsgd",
    "reduce_mixtures",
    "reduced_mixture_of_experts",
    "references",
    "regularised",
    "replay",
    "run_round",
    "sign_sgd",
    "synchronous_local_sgd",
    "tern_grad",
]
