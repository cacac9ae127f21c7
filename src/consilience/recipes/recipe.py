"""What a recipe is, and what it may ask of whoever runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, overload

import xarray as xr

from consilience.errors import InvalidSpec
from consilience.experiments import Computation, Sweep


class Execute(Protocol):
    """Runs or loads what a recipe needs: `experiments.run_sweep` and `experiments.compute`, with a store, say."""

    @overload
    def __call__(self, work: Sweep, /) -> xr.Dataset: ...
    @overload
    def __call__(self, work: Computation, /) -> dict[str, xr.Dataset]: ...


@dataclass(frozen=True)
class Table:
    """Rows of text under a title.

    Attributes:
        title: above the table.
        columns: their headings.
        rows: cells as they are shown; every row as long as `columns`.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Recipe:
    """A named experiment.

    Its module holds, for the protocol `config` that a preset makes:

    - `for_dataset(config, dataset)`: the protocol on another data set, or an error that says why there is none,
    - `sweeps(config, data_dir=)`: the simulations that it plans, name → `Sweep`; none for theory,
    - `run(config, execute, data_dir=)`: the result,
    - `draw(result)`: its figure, `tables(result)` and `remarks(result)`: what is printed, `as_data(result)`: all
      numbers as plain data,
    - `stem(config)`: the name of its files.

    Attributes:
        name: by which the command line knows it.
        summary: one line.
        presets: "quick", "default", "full" → a function that makes the protocol.
        module: as above.
    """

    name: str
    summary: str
    presets: Mapping[str, Callable[[], Any]]
    module: ModuleType

    def source(self, config: Any) -> dict[str, Any]:
        """What the runs of a protocol record of it: the recipe, the nearest preset, and the settings that differ.

        Example:
            >>> import dataclasses
            >>> from consilience.recipes import get
            >>> recipe = get("figure-3")
            >>> recipe.source(dataclasses.replace(recipe.presets["quick"](), num_rounds=60))
            {'recipe': 'figure-3', 'preset': 'quick', 'settings': {'num_rounds': 60}}
        """
        differences = {name: _differences(config, preset()) for name, preset in self.presets.items()}
        preset = min(differences, key=lambda name: len(differences[name]))
        return {"recipe": self.name, "preset": preset, "settings": differences[preset]}


def _differences(config: Any, preset: Any) -> dict[str, Any]:
    """The settings of a protocol that a preset has otherwise."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if value != getattr(preset, name)}


def several(name: str, value: Any, like: tuple[Any, ...], *, at_least: int = 1) -> tuple[Any, ...]:
    """A setting of a protocol that holds several values, each of them once.

    Args:
        name: of the setting.
        value: as it was given; whole numbers may come as floats.
        like: an example, and the type of its members: int, float or str.
        at_least: how many values there are.

    Raises:
        InvalidSpec: for a single value, members of another type, repetitions, or too few values.

    Example:
        >>> several("depths", [0.0, 2], like=(0, 1, 2))
        (0, 2)
    """
    kind = type(like[0])
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidSpec(f"{name}={value!r}: these are several. Write {name}={like!r}, say.")
    given = tuple(value)
    try:
        found = tuple(kind(item) for item in given)
    except (TypeError, ValueError):
        found = ()
    if found != given or len(set(found)) < len(found) or len(found) < at_least:
        number = "each of them once" if at_least < 2 else f"{at_least} or more, each of them once"
        raise InvalidSpec(f"{name}={given!r}: these are values like {like[0]!r}, {number}. Write {name}={like!r}, say.")
    return found
