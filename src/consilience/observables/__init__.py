"""What is measured: on a population while it runs, and on results afterwards."""

from __future__ import annotations

from collections.abc import Iterable

from consilience.errors import InvalidSpec, UnknownName
from consilience.observables import parameters, performance
from consilience.observables.collapse import Collapse, data_collapse
from consilience.observables.finite_size import BinderCrossing, Crossing, Exponent, binder_crossing, scaling_exponent
from consilience.observables.learning_path import cumulative_cross_accuracy, effective_rank, r_squared, rank_one
from consilience.observables.observable import EvaluationSet, Observable, Population, check_observables
from consilience.observables.parameters import layers
from consilience.observables.performance import column_index, symmetry_index
from consilience.observables.resampling import Estimate
from consilience.observables.transitions import (
    CriticalCoupling,
    binder_cumulant,
    critical_coupling,
    final_coupling,
    halfway,
    susceptibility,
)

OBSERVABLES = {observable.name: observable for observable in (*performance.OBSERVABLES, *parameters.OBSERVABLES)}
"""Observables that can be asked for by name."""


def resolve(observe: Iterable[str | Observable]) -> tuple[Observable, ...]:
    """The observables of a mixed list of names and `Observable`s.

    Raises:
        UnknownName: for a name that is not in `OBSERVABLES`.

    Example:
        >>> [observable.name for observable in resolve(["accuracy", "loss"])]
        ['accuracy', 'loss']
    """
    if isinstance(observe, str):
        raise InvalidSpec(f"observe={observe!r} is one string; write a list, observe=[{observe!r}].")
    resolved = []
    for item in observe:
        if not isinstance(item, Observable) and item not in OBSERVABLES:
            raise UnknownName.among("observable", item, OBSERVABLES)
        resolved.append(item if isinstance(item, Observable) else OBSERVABLES[item])
    return tuple(resolved)


__all__ = [
    "OBSERVABLES",
    "BinderCrossing",
    "Collapse",
    "CriticalCoupling",
    "Crossing",
    "Estimate",
    "EvaluationSet",
    "Exponent",
    "Observable",
    "Population",
    "binder_crossing",
    "binder_cumulant",
    "check_observables",
    "column_index",
    "critical_coupling",
    "cumulative_cross_accuracy",
    "data_collapse",
    "effective_rank",
    "final_coupling",
    "halfway",
    "layers",
    "r_squared",
    "rank_one",
    "resolve",
    "scaling_exponent",
    "susceptibility",
    "symmetry_index",
]
