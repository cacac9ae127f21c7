"""Experiments: sweeps, protocols, and produce-or-load."""

from __future__ import annotations

from consilience.experiments import spec
from consilience.experiments.assemble import load_stored
from consilience.experiments.candidates import Recommendation, candidate_graphs, compare_candidates, recommend
from consilience.experiments.compare import (
    Agreement,
    earliness,
    known_by_others,
    measured_onset,
    ordering_agreement,
    rank_agreement,
)
from consilience.experiments.computation import Computation, compute
from consilience.experiments.deployment import Deployment, deploy
from consilience.experiments.estimate import Estimate, estimate
from consilience.experiments.executors import (
    EXECUTORS,
    Local,
    LostWorkerWarning,
    Processes,
    Ray,
    WorkerLost,
    make_executor,
)
from consilience.experiments.identity import UnnamedPartError, describe, identity
from consilience.experiments.plan import PROTOCOLS, Block, plan
from consilience.experiments.prediction import TransitionPrediction, predict_transition
from consilience.experiments.resolve import Sweep, resolve_sweep
from consilience.experiments.rounds_prediction import RoundsPrediction, predict_rounds
from consilience.experiments.spec import resolve_spec
from consilience.experiments.sweep import NotStoredWarning, SweepProgress, run_sweep, sweep

__all__ = [
    "EXECUTORS",
    "PROTOCOLS",
    "Agreement",
    "Block",
    "Computation",
    "Deployment",
    "Estimate",
    "Local",
    "LostWorkerWarning",
    "NotStoredWarning",
    "Processes",
    "Ray",
    "Recommendation",
    "RoundsPrediction",
    "Sweep",
    "SweepProgress",
    "TransitionPrediction",
    "UnnamedPartError",
    "WorkerLost",
    "candidate_graphs",
    "compare_candidates",
    "compute",
    "deploy",
    "describe",
    "earliness",
    "estimate",
    "identity",
    "known_by_others",
    "load_stored",
    "make_executor",
    "measured_onset",
    "ordering_agreement",
    "plan",
    "predict_rounds",
    "predict_transition",
    "rank_agreement",
    "recommend",
    "resolve_spec",
    "resolve_sweep",
    "run_sweep",
    "spec",
    "sweep",
]
