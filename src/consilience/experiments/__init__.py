"""Experiments: sweeps, protocols, and produce-or-load."""

from __future__ import annotations

from consilience.experiments import spec
from consilience.experiments.assemble import load_stored
from consilience.experiments.computation import Computation, compute
from consilience.experiments.estimate import Estimate, estimate
from consilience.experiments.identity import UnnamedPartError, describe, identity
from consilience.experiments.plan import PROTOCOLS, Block, plan
from consilience.experiments.resolve import Sweep, resolve_sweep
from consilience.experiments.spec import resolve_spec
from consilience.experiments.sweep import NotStoredWarning, SweepProgress, run_sweep, sweep

__all__ = [
    "PROTOCOLS",
    "Block",
    "Computation",
    "Estimate",
    "NotStoredWarning",
    "Sweep",
    "SweepProgress",
    "UnnamedPartError",
    "compute",
    "describe",
    "estimate",
    "identity",
    "load_stored",
    "plan",
    "resolve_spec",
    "resolve_sweep",
    "run_sweep",
    "spec",
    "sweep",
]
