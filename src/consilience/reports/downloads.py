"""Results as files that other programs read: NetCDF with everything, CSV with one row per replica, round and agent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT, ROUND
from consilience.errors import InvalidSpec
from consilience.reports.replicas import REPLICA, Replicas

_INT32 = np.iinfo(np.int32)


def to_netcdf_bytes(dataset: xr.Dataset) -> bytes:
    """A data set as the content of a NetCDF file (version 3, 64-bit offsets), which every reader of NetCDF opens.

    All dimensions, coordinates, variables and attributes are kept, within what the format has: no "/" in names (written
    "."; the attribute "original_name" of a variable keeps it), no 64-bit integers (32 bits, or doubles where these are
    too few), no half precision (single), and no nested attributes (text in JSON).

    Args:
        dataset: what `sweep`, `simulate` or a cell of a computation holds.

    Raises:
        InvalidSpec: for a variable that NetCDF has no type for: complex numbers, objects.

    Example:
        >>> import io
        >>> dataset = xr.Dataset({"params/w": ("agent", [1.0, 2.0])}, attrs={"spec": {"seed": 0}})
        >>> again = xr.open_dataset(io.BytesIO(to_netcdf_bytes(dataset)), engine="scipy")
        >>> again["params.w"].values.tolist(), again.attrs["spec"]
        ([1.0, 2.0], '{"seed": 0}')
    """
    flat = dataset.reset_index(REPLICA) if REPLICA in dataset.indexes else dataset
    renamed = {name: str(name).replace("/", ".") for name in {*flat.variables, *flat.dims} if "/" in str(name)}
    plain = xr.Dataset(
        {name: _as_netcdf(flat[name], str(name)) for name in flat.data_vars},
        {name: _as_netcdf(flat[name], str(name)) for name in flat.coords},
        {str(name): _attribute(value) for name, value in flat.attrs.items()},
    )
    return bytes(plain.rename(renamed).to_netcdf(engine="scipy", format="NETCDF3_64BIT"))


def to_csv(dataset: xr.Dataset) -> str:
    """A data set as a tidy table: a row for each cell, round and agent, a column for each observable.

    Values that are one for all agents, or for all rounds, are repeated. Matrices over pairs of agents, values by class
    and parameters of networks have no place in such rows; `to_netcdf_bytes` has them. Floats are written so that they
    are read back exactly.

    Args:
        dataset: what `sweep` or `simulate` returns; of any other data set, those variables are written that have no
            dimension besides the largest one's.

    Raises:
        InvalidSpec: there is nothing to write.

    Example:
        >>> dataset = xr.Dataset({"loss": (("seed", "agent"), [[0.5, 0.25]]), "outcome": ("seed", ["completed"])},
        ...                      {"seed": [7], "agent": [0, 1]})
        >>> print(to_csv(dataset))
        seed,agent,loss,outcome
        7,0,0.5,completed
        7,1,0.25,completed
        <BLANKLINE>
    """
    if "outcome" in dataset and dataset.outcome.dims:
        replicas = Replicas.of(dataset)
        keys, results = replicas.parameters, replicas.results
        dims = [dim for dim in (REPLICA, ROUND, AGENT) if dim in results.dims]
    else:
        keys, results, dims = [], dataset, _dims_of_largest(dataset)
    columns = [name for name, values in results.data_vars.items() if set(values.dims) <= set(dims)]
    if not columns:
        raise InvalidSpec(
            f"A data set with the variables {tuple(map(str, results))} has nothing that fits into rows. Write NetCDF."
        )
    shape = [results.sizes[dim] for dim in dims]
    tables = [results[name].expand_dims({d: results.sizes[d] for d in dims if d not in results[name].dims})
              .transpose(*dims).values for name in columns]  # fmt: skip
    named = [dim for dim in dims if not (dim == REPLICA and keys)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(keys[0] if keys else []), *named, *columns])
    for position in np.ndindex(*shape):
        at = dict(zip(dims, position, strict=True))
        own = keys[at[REPLICA]].values() if keys else []
        places = [_item(results[dim].values[at[dim]]) for dim in named]
        writer.writerow([*own, *places, *(_item(table[position]) for table in tables)])
    return buffer.getvalue()


def _dims_of_largest(dataset: xr.Dataset) -> list[str]:
    largest = max(dataset.data_vars.values(), key=lambda values: values.size, default=None)
    return [] if largest is None else [str(dim) for dim in largest.dims]


def _item(value: Any) -> Any:
    """A NumPy scalar as Python's, whose text is the shortest that reads back exactly (NaN: an empty field)."""
    value = value.item() if isinstance(value, np.generic) else value
    return "" if value != value else value


def _as_netcdf(values: xr.DataArray, name: str) -> xr.Variable:
    attributes = {key: _attribute(value) for key, value in values.attrs.items()}
    attributes |= {"original_name": name} if "/" in name else {}
    return xr.Variable(values.dims, _array(values.values, name), attributes)


def _array(array: np.ndarray, name: str) -> np.ndarray:
    """`array` in a type that NetCDF 3 has."""
    if (array.dtype.kind in "iu" and array.dtype.itemsize > 2) or array.dtype == np.uint16:
        fits = array.size == 0 or (array.min() >= _INT32.min and array.max() <= _INT32.max)
        return array.astype(np.int32 if fits else np.float64)
    if array.dtype == np.uint8:
        return array.astype(np.int16)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if array.dtype == object and all(isinstance(value, (str, Mapping)) for value in array.flat):
        return np.array([_attribute(value) for value in array.flat]).reshape(array.shape)
    if array.dtype.kind in "cO":
        raise InvalidSpec(
            f"{name!r} holds {array.dtype} values, which NetCDF has no type for. Write the real and the imaginary "
            "part, or numbers and text, as variables of their own."
        )
    return array


def _attribute(value: Any) -> Any:
    """An attribute as NetCDF 3 has them: text and numbers; everything else as JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (str, float)) or (isinstance(value, int) and not isinstance(value, bool)):
        return value if not isinstance(value, int) or _INT32.min <= value <= _INT32.max else float(value)
    return json.dumps(value, default=lambda item: item.tolist() if isinstance(item, np.ndarray) else str(item))
