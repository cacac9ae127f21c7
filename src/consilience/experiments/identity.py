"""What an experiment is, as plain data, and its hash: two runs with equal specs are the same run.

Arrays count by their content, tasks and graphs by what they hold and not by what they are called. Code has no content
that can be compared reliably: the package's own classes count by name, other people's classes by name and source, and
bare functions need a name that their author gives.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from consilience.errors import InvalidSpec
from consilience.graphs import Graph, MixingMatrix
from consilience.models import EquinoxModel, FunctionModel
from consilience.observables import OBSERVABLES, Observable
from consilience.tasks import Shards, Task

SEMANTICS = 2
"""Raised when a change to the package changes the numbers that a spec stands for."""


class UnnamedPartError(InvalidSpec):
    """A part of an experiment that has no identity, so that its results cannot be stored under one."""


def describe(value: Any) -> Any:
    """`value` as plain data (dictionaries, lists, strings, numbers) that determines it.

    Dataclasses count by their fields. A field that is added later declares `metadata={"omit_default_from_identity":
    True}`: at its default it is left out, so that runs stored before keep their identity.

    Raises:
        UnnamedPartError: for functions and other things without an identity.

    Example:
        >>> from consilience import models
        >>> describe(models.mlp(depth=1))["depth"]
        1
        >>> describe(len)
        Traceback (most recent call last):
        ...
        consilience.experiments.identity.UnnamedPartError: <built-in function len> is code, which cannot be ...
    """
    if isinstance(value, enum.Enum):
        return describe(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (np.generic, np.ndarray, jax.Array)):
        return _describe_array(np.asarray(value))
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, Shards):
        return {"shards": [describe(np.asarray(shard)) for shard in value]}
    if isinstance(value, (list, tuple, range)):
        return [describe(item) for item in value]
    if isinstance(value, Task):
        return {"task": value.fingerprint}
    if isinstance(value, Graph):
        return {"graph": describe(np.asarray(value.adjacency))}
    if isinstance(value, MixingMatrix):
        return {"mixing": describe(np.asarray(value.weights))}
    if isinstance(value, Observable):
        return _describe_observable(value)
    if isinstance(value, (FunctionModel, EquinoxModel)):
        return _describe_adapter(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": _describe_class(type(value)), **describe_fields(value)}
    raise UnnamedPartError(
        f"{value!r} is code, which cannot be compared from one session to the next, so results that depend on it are "
        "not stored. Give the part a name= (cs.models.from_functions(init, apply, name='...')), or make it a frozen "
        "dataclass; or do without the store."
    )


def describe_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain data, without those that are left out at their defaults."""
    described = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
    for field in dataclasses.fields(value):
        if field.metadata.get("omit_default_from_identity") and described[field.name] == describe(field.default):
            del described[field.name]
    return described


def _describe_array(array: np.ndarray) -> Any:
    if array.dtype == object:
        raise UnnamedPartError(f"An array of objects has no content that can be compared: {array!r}.")
    if array.ndim == 0:
        return describe(array.item())
    digest = hashlib.sha256(np.ascontiguousarray(array).data if array.size else b"").hexdigest()
    return {"array": digest, "shape": list(array.shape), "dtype": array.dtype.str}


def _describe_class(cls: type) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__.partition(".")[0] in ("consilience", "builtins"):
        return name
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError) as error:
        raise UnnamedPartError(
            f"The source of {name} is not available, so its results cannot be stored under an identity. Define the "
            "class in a file."
        ) from error
    return f"{name}#{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def _describe_observable(observable: Observable) -> Any:
    if OBSERVABLES.get(observable.name) is observable:
        return observable.name
    return {"observable": observable.name, "dims": list(observable.dims)}


def _describe_adapter(model: FunctionModel | EquinoxModel) -> Any:
    if model.given_name is None:
        raise UnnamedPartError(
            f"The model {model.name!r} has no name, so its results cannot be stored under an identity. Write "
            f"{'from_equinox(module' if isinstance(model, EquinoxModel) else 'from_functions(init, apply'}, "
            "name='my model'), and change the name when you change the code."
        )
    described: dict[str, Any] = {"class": _describe_class(type(model)), "name": model.given_name}
    if isinstance(model, EquinoxModel) and not model.is_factory:
        arrays = [leaf for leaf in jax.tree.leaves(model.module) if isinstance(leaf, (jax.Array, np.ndarray))]
        described["arrays"] = [describe(np.asarray(leaf)) for leaf in arrays]
    return described


def identity(description: Any) -> str:
    """SHA-256, in hex, of plain data in canonical form (sorted keys, shortest exact numbers).

    Example:
        >>> identity({"b": 1, "a": [0.1]}) == identity({"a": [0.1], "b": 1})
        True
    """
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
