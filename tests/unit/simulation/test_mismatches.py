"""What runs, but not as the method is meant, is warned of: a mixing matrix without use, and agents that start apart."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from consilience import graphs
from consilience.algorithms import DGD, DiffusiveCoupling, FederatedAveraging, catalog
from consilience.errors import MismatchWarning
from consilience.graphs import Periodic, Schedules
from registries import final_params, small_problem

PROBLEM = small_problem(4)
COMPLETE = graphs.complete(4)
LAZY = graphs.from_matrix((np.eye(4) + graphs.uniform(4).weights) / 2)
ENTRIES = {name: entry for name, entry in catalog().items() if entry.kind == "algorithm"}
WITHOUT_MIXING = sorted(name for name, entry in ENTRIES.items() if not entry.example().reads_mixing)


@pytest.mark.parametrize(
    "given", [{"mixing": LAZY}, {"schedules": Schedules(mixing=Periodic(LAZY.weights[None]))}], ids=["W", "W(t)"]
)
def test_a_mixing_matrix_that_is_not_used_is_warned_of(given: dict) -> None:
    with pytest.warns(MismatchWarning, match="DiffusiveCoupling does not use a mixing matrix.*changes nothing"):
        PROBLEM.experiment(DiffusiveCoupling(0.1, 1.0), graph=COMPLETE, **given)
    PROBLEM.experiment(DGD(0.1), graph=COMPLETE, **given)


def test_agents_that_start_apart_and_take_the_same_steps_are_warned_of() -> None:
    method = FederatedAveraging(0.1)
    with pytest.warns(MismatchWarning, match=r"FederatedAveraging moves all agents.*Write common_init=True\."):
        PROBLEM.experiment(method, graph=COMPLETE, initial_params=None)
    PROBLEM.experiment(method, graph=COMPLETE, initial_params=None, common_init=True)
    PROBLEM.experiment(method, graph=COMPLETE)  # somebody chose these parameters
    PROBLEM.experiment(DGD(0.1), graph=COMPLETE, initial_params=None)


@pytest.mark.parametrize("name", WITHOUT_MIXING)
def test_methods_that_say_so_do_not_use_it(name: str) -> None:
    """A matrix with other weights changes no bit."""
    algorithm = ENTRIES[name].example()
    graph = graphs.path(4) if "tree" in algorithm.requires else COMPLETE
    default = algorithm.default_mixing(graph)
    other = graphs.from_matrix((np.eye(4) + default.weights) / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MismatchWarning)
        runs = [PROBLEM.simulate(algorithm, graph=graph, mixing=one, num_rounds=2) for one in (default, other)]
    for found, expected in zip(*[final_params(run).values() for run in runs], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_who_uses_no_mixing_matrix() -> None:
    assert WITHOUT_MIXING == [
        "decaying_coupling",
        "diffusive_coupling",
        "fish_mask",
        "isolated",
        "matched_averaging",
        "one_byte",
        "relay_sum",
    ]


def test_methods_that_start_together_say_so() -> None:
    for name, entry in ENTRIES.items():
        if entry.example().starts_together:
            assert "common initial parameters" in entry.sections["Assumes"], name
