"""Files of results are read again by other programs with everything in them."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from conftest import Stored
from consilience.errors import InvalidSpec
from consilience.experiments import load_stored
from consilience.reports import to_csv, to_netcdf_bytes
from consilience.store import Run, Store


def read(content: bytes) -> xr.Dataset:
    with xr.open_dataset(io.BytesIO(content), engine="scipy") as dataset:
        return dataset.load()


def test_netcdf_has_all_dimensions_coordinates_values_and_attributes(stored: Stored) -> None:
    dataset = load_stored(stored.store, stored.spec.id)
    again = read(to_netcdf_bytes(dataset))
    assert {name.replace("/", "."): size for name, size in dataset.sizes.items()} == dict(again.sizes)
    for name, values in dataset.variables.items():
        found = again[name.replace("/", ".")]
        assert found.dims == tuple(dim.replace("/", ".") for dim in values.dims)
        np.testing.assert_array_equal(found.values, values.values)  # integers of 32 bits hold these exactly
        assert found.attrs == dict(values.attrs) | ({"original_name": name} if "/" in name else {})
    assert set(again.attrs) == set(dataset.attrs)
    assert json.loads(again.attrs["spec"]) == dataset.attrs["spec"]
    assert again.attrs["title"] == dataset.attrs["title"]


def test_netcdf_of_an_unfinished_run(unfinished: Run) -> None:
    again = read(to_netcdf_bytes(load_stored(Store(unfinished.root), unfinished.id)))
    assert "replica" in again.dims
    assert again["learning_rate"].dims == again["seed"].dims == ("replica",)


def test_types_that_netcdf_3_does_not_have() -> None:
    dataset = xr.Dataset(
        {
            "large": ("x", np.array([2**40, 1])),
            "unsigned": ("x", np.array([2**31, 1], np.uint32)),
            "byte": ("x", np.array([200, 1], np.uint8)),
            "half": ("x", np.array([0.5, 1.0], np.float16)),
            "flag": ("x", np.array([True, False])),
            "text": ("x", np.array(["σ", "completed"], object)),
            "part": ("x", np.array([{"class": "a"}, {"class": "b"}], object)),
        },
        attrs={"large": 2**40, "flag": True, "nothing": None, "array": np.arange(2), "number": np.float64(0.5)},
    )
    again = read(to_netcdf_bytes(dataset))
    for name in ("large", "unsigned", "byte", "half", "flag", "text"):
        assert again[name].values.tolist() == dataset[name].values.tolist(), name
    assert json.loads(again["part"].values[1]) == {"class": "b"}
    assert again.attrs == {"large": 2.0**40, "flag": "true", "nothing": "null", "array": "[0, 1]", "number": 0.5}


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="'z' holds complex128"):
        to_netcdf_bytes(xr.Dataset({"z": ("x", [1j])}))


def test_csv_has_a_row_for_each_cell_round_and_agent(stored: Stored) -> None:
    dataset = load_stored(stored.store, stored.spec.id)
    table = pd.read_csv(io.StringIO(to_csv(dataset)))
    expected = ["learning_rate", "seed", "round", "agent", "accuracy", "loss", "outcome", "final_round"]
    assert list(table) == expected
    assert len(table) == 3 * 2 * dataset.sizes["round"] * 5
    again = table.set_index(["learning_rate", "seed", "round", "agent"])
    loss = dataset.loss.to_series()
    pd.testing.assert_series_equal(again["loss"].sort_index(), loss.sort_index(), check_exact=True)
    assert (again.loc[0.1, "outcome"] == "completed").all()


def test_csv_of_averages_and_of_an_unfinished_run(stored: Stored, unfinished: Run) -> None:
    averages = pd.read_csv(io.StringIO(to_csv(load_stored(stored.store, stored.python.id))))
    assert list(averages.columns[:3]) == ["coupling", "seed", "agent"]
    assert averages.coupling.unique().tolist() == [10.0, 0.0]
    part = pd.read_csv(io.StringIO(to_csv(load_stored(Store(unfinished.root), unfinished.id))))
    whole = pd.read_csv(io.StringIO(to_csv(load_stored(stored.store, stored.spec.id))))
    assert 0 < len(part) < len(whole)
    assert list(part) == list(whole)


def test_csv_of_a_cell_of_a_computation(stored: Stored) -> None:
    cell = stored.computation.load("two")
    assert cell is not None
    assert to_csv(cell).splitlines() == ["coupling,seed,square", "0.0,0,0.0", "0.0,1,2.0", "2.0,0,8.0", "2.0,1,18.0"]


def test_nothing_that_fits_into_rows_is_said_so() -> None:
    with pytest.raises(InvalidSpec, match="Write NetCDF"):
        to_csv(xr.Dataset())
