"""The collective-learning transition of wide networks, predicted by their kernel and measured by training.

Where the two papers meet: Eq. (2) of paper 001 is decentralised gradient descent with W = I − (ησ/N) L_Q, which paper
003 solves for wide networks that start from common parameters. Agents have one class each; what they know of the
others' classes is the order parameter.
"""

from __future__ import annotations

from consilience.recipes.wide_transition.analysis import Result, laws, measured, predictions, run, without_diverged
from consilience.recipes.wide_transition.figure import draw
from consilience.recipes.wide_transition.law import (
    Agents,
    agents_of,
    at_rest,
    at_rounds,
    infinite,
    of_agents,
    of_mean,
)
from consilience.recipes.wide_transition.prediction import (
    cross_accuracy,
    initial_params,
    linearize,
    predict,
    unseen,
)
from consilience.recipes.wide_transition.protocol import (
    Setting,
    WideTransition,
    for_dataset,
    full,
    load,
    quick,
    settings,
    stem,
    sweeps,
)
from consilience.recipes.wide_transition.report import as_data, remarks, tables

__all__ = [
    "Agents",
    "Result",
    "Setting",
    "WideTransition",
    "agents_of",
    "as_data",
    "at_rest",
    "at_rounds",
    "cross_accuracy",
    "draw",
    "for_dataset",
    "full",
    "infinite",
    "initial_params",
    "laws",
    "linearize",
    "load",
    "measured",
    "of_agents",
    "of_mean",
    "predict",
    "predictions",
    "quick",
    "remarks",
    "run",
    "settings",
    "stem",
    "sweeps",
    "tables",
    "unseen",
    "without_diverged",
]
