"""The laboratory of collective deep learning.

Several neural networks, each trained on private data, are coupled: at every round each also moves a little towards its
neighbours' parameters. Below a critical coupling each knows only its own data; above it all of them generalise to data
that they never saw. This package simulates such populations, predicts them, measures the transition, and stores what it
computed.

Subpackages and the entry points `simulate` and `sweep` are imported when they are first used, so that
`import consilience` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_ENTRY_POINTS = {"simulate": "simulation", "sweep": "experiments"}
_SUBPACKAGES = (
    "algorithms",
    "errors",
    "experiments",
    "graphs",
    "messages",
    "models",
    "observables",
    "plots",
    "recipes",
    "reports",
    "simulation",
    "store",
    "tasks",
    "theory",
)

__all__ = [  # noqa: RUF022 (entry points first)
    "simulate",
    "sweep",
    "algorithms",
    "errors",
    "experiments",
    "graphs",
    "messages",
    "models",
    "observables",
    "plots",
    "recipes",
    "reports",
    "simulation",
    "store",
    "tasks",
    "theory",
]

if TYPE_CHECKING:
    from consilience import (
        algorithms,
        errors,
        experiments,
        graphs,
        messages,
        models,
        observables,
        plots,
        recipes,
        reports,
        simulation,
        store,
        tasks,
        theory,
    )
    from consilience.experiments import sweep
    from consilience.simulation import simulate


def __getattr__(name: str) -> Any:
    if name in _ENTRY_POINTS:
        return getattr(importlib.import_module(f"consilience.{_ENTRY_POINTS[name]}"), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"consilience.{name}")
    raise AttributeError(f"module 'consilience' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
