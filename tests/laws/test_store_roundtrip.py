"""The law of the store: what was put in comes out, to the bit."""

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from consilience.store import checkpoint, datasets, documents

# "$float" marks NaN and infinity in the store, and is refused as a key.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda name: name != "$float")
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(NAMES.filter(lambda name: name != "coordinates"), DOCUMENTS, max_size=3)
DTYPES = st.sampled_from(sorted(datasets.NUMERIC))


def arrays(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any bit pattern: hypothesis draws the bytes, so NaNs carry payloads."""
    if dtype == "bool":
        return hnp.arrays(bool, hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
    size = np.dtype(dtype).itemsize
    raw = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, min_side=0, max_side=3).map(lambda s: (*s, size)))
    return raw.map(lambda octets: np.ascontiguousarray(octets).view(dtype)[..., 0])


def bits(array: np.ndarray) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.tobytes()


@st.composite
def data_sets(draw: st.DrawFn) -> xr.Dataset:
    variables = {}
    for name, dtype in draw(st.dictionaries(NAMES, DTYPES, max_size=3)).items():
        values = draw(arrays(dtype))
        # The length in a dimension's name keeps variables from disagreeing about it.
        dimensions = tuple(f"dimension {axis} of {length}" for axis, length in enumerate(values.shape))
        variables[name] = (dimensions, values, draw(ATTRIBUTES))
    dataset = xr.Dataset(variables, attrs=draw(ATTRIBUTES))
    return dataset.set_coords(draw(st.sets(st.sampled_from(sorted(variables)))) if variables else [])


@settings(max_examples=40, deadline=None)
@given(data_sets())
def test_datasets(dataset: xr.Dataset) -> None:
    result = datasets.decode(datasets.encode(dataset))
    assert list(result.variables) == list(dataset.variables)
    assert set(result.coords) == set(dataset.coords)
    assert repr(result.attrs) == repr(dataset.attrs)  # the representation of NaN equals itself
    for name, variable in dataset.variables.items():
        assert result.variables[name].dims == variable.dims
        assert repr(result.variables[name].attrs) == repr(variable.attrs)
        assert bits(result.variables[name].values) == bits(variable.values)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=20), DTYPES.flatmap(arrays), max_size=4), st.dictionaries(NAMES, DOCUMENTS))
def test_checkpoints(contents: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    result, result_meta = checkpoint.unpack(checkpoint.pack(contents, meta))
    assert list(result) == list(contents)
    assert repr(result_meta) == repr(meta)
    for name, array in contents.items():
        assert bits(result[name]) == bits(array)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_documents(value: Any) -> None:
    assert repr(documents.from_json(documents.to_json(value, where="value"))) == repr(value)
