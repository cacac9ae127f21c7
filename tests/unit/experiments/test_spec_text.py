"""Specs written as TOML: what is read back is what was written."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest

from consilience.errors import InvalidSpec
from consilience.experiments.spec import EXAMPLE, as_tables, format_value, parse_value, resolve_spec, to_toml

AWKWARD: dict[str, Any] = {
    "title": 'of "lists"\n], [ and \\ lines',
    "interventions": [
        {"round": 10, "kind": "edge", "source": 0, "target": 3, "weight": 0.0},
        {"round": 20, "kind": "edge", "source": 1, "target": 3, "weight": 0.5, "why": "]"},
    ],
    "run": {"observe": [], "pairs": [[1, 2], [3, 4]], "strings": ["]", ", ]", " [", "=", "#"]},
    "over": {"coupling": [0.0, 1e30, -0.5], "flag": [True, False]},
}


@pytest.mark.parametrize("spec", [AWKWARD, tomllib.loads(EXAMPLE), {}], ids=["awkward", "example", "empty"])
def test_what_is_written_is_read_back(spec: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(spec)) == spec


def test_every_value_stands_on_one_line() -> None:
    lines = to_toml({"over": {"coupling": list(range(40))}}).splitlines()
    assert lines == ["[over]", f"coupling = {list(range(40))}"]


@pytest.mark.parametrize("value", [0, 0.5, 1e-300, True, "a b", "1", '"', [0.0, 1.5], ["a", "b"], [[1, 2], []], []])
def test_a_formatted_value_is_parsed_back(value: Any) -> None:
    assert parse_value(format_value(value)) == value
    assert "\n" not in format_value(value)


def test_arrays_and_ranges_become_lists() -> None:
    tables = as_tables({"over": {"coupling": np.array([0.5, 1.0]), "seed": range(2), "rate": np.float64(0.1)}})
    assert tables == {"over": {"coupling": [0.5, 1.0], "seed": [0, 1], "rate": 0.1}}
    assert type(tables["over"]["rate"]) is float


@pytest.mark.parametrize("value", [None, print, {1, 2}, 1j])
def test_what_toml_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"run\.num_rounds = .*a spec file has no such value"):
        to_toml({"run": {"num_rounds": value}})


def test_a_spec_that_is_written_and_read_has_the_same_identity() -> None:
    spec = {"over": {"coupling": (0.0, 30.0), "seed": range(2)}, "run": {"num_rounds": 3}}
    assert resolve_spec(tomllib.loads(to_toml(spec))).run_id == resolve_spec(spec).run_id
