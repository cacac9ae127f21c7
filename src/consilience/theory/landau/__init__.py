"""The effective Ginzburg–Landau theory of collective learning (paper 001, Eqs. (4)–(8), Appendices A and B).

Every agent is one scalar, its order parameter m_i, in a Landau potential whose shape its data decide; the coupling
draws the agents together. With it come the loss on everybody's data, equilibria, phase diagrams, and the disorder δ_i
of real data.

m = landau.integrate(delta, initial, depth=1, coupling=2.0, times=[0.0, 10.0])      # in time
landau.sweep(delta, initial, depth=1, couplings=[0.0, 1.0, 10.0])                   # against the coupling
landau.phase_diagram({"coupling": [0.0, 1.0], "weight_decay": [1e-3, 0.1]})         # over any two control parameters
"""

from __future__ import annotations

from consilience.theory.landau.disorder import (
    DEFINITIONS,
    DisorderDefinition,
    disorder_variants,
    jackknife_error,
    leave_group_out,
    measure_disorder,
    rank_agreement,
)
from consilience.theory.landau.dynamics import Triadic, drift, energy, potential
from consilience.theory.landau.equilibria import branches, equilibria, equilibrium
from consilience.theory.landau.integration import integrate, time_average
from consilience.theory.landau.layered import layered
from consilience.theory.landau.learning_path import cross_accuracy, learning_path, linear_state
from consilience.theory.landau.losses import cross_loss, effective_loss
from consilience.theory.landau.phase_diagram import CONTROLS, phase_diagram
from consilience.theory.landau.protocols import (
    PROTOCOLS,
    gaussian_disorder,
    hysteresis_area,
    sweep,
    uniform_start,
)
from consilience.theory.landau.stability import regularisation_threshold, top_eigenvalue

__all__ = [
    "CONTROLS",
    "DEFINITIONS",
    "PROTOCOLS",
    "DisorderDefinition",
    "Triadic",
    "branches",
    "cross_accuracy",
    "cross_loss",
    "disorder_variants",
    "drift",
    "effective_loss",
    "energy",
    "equilibria",
    "equilibrium",
    "gaussian_disorder",
    "hysteresis_area",
    "integrate",
    "jackknife_error",
    "layered",
    "learning_path",
    "leave_group_out",
    "linear_state",
    "measure_disorder",
    "phase_diagram",
    "potential",
    "rank_agreement",
    "regularisation_threshold",
    "sweep",
    "time_average",
    "top_eigenvalue",
    "uniform_start",
]
