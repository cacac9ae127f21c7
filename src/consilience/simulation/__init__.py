"""Populations in one process: vectorised over agents and replicas, scanned over rounds."""

from __future__ import annotations

from consilience.simulation.communication import Costs, costs, message_bits
from consilience.simulation.compilation import use_compilation_cache
from consilience.simulation.devices import use_device
from consilience.simulation.ensemble import Ensemble
from consilience.simulation.experiment import Experiment
from consilience.simulation.interventions import (
    KINDS,
    Freeze,
    Intervention,
    Restart,
    SetEdge,
    SetParameter,
    Stage,
    SwapData,
    Thaw,
)
from consilience.simulation.placement import Placement, place
from consilience.simulation.processes import join
from consilience.simulation.recording import (
    REPLICA,
    ParamsAccessor,
    describe_result,
    flatten_params,
    restore_params,
    to_dataset,
    unflatten_params,
)
from consilience.simulation.resolve import resolve_experiment
from consilience.simulation.simulate import simulate
from consilience.simulation.simulation import Checkpoint, Simulation, make_ensemble, precision
from consilience.simulation.trajectory import COMPLETED, DIVERGED, STOPPED, Progress, Trajectory, run_ensemble

__all__ = [
    "COMPLETED",
    "DIVERGED",
    "KINDS",
    "REPLICA",
    "STOPPED",
    "Checkpoint",
    "Costs",
    "Ensemble",
    "Experiment",
    "Freeze",
    "Intervention",
    "ParamsAccessor",
    "Placement",
    "Progress",
    "Restart",
    "SetEdge",
    "SetParameter",
    "Simulation",
    "Stage",
    "SwapData",
    "Thaw",
    "Trajectory",
    "costs",
    "describe_result",
    "flatten_params",
    "join",
    "make_ensemble",
    "message_bits",
    "place",
    "precision",
    "resolve_experiment",
    "restore_params",
    "run_ensemble",
    "simulate",
    "to_dataset",
    "unflatten_params",
    "use_compilation_cache",
    "use_device",
]
