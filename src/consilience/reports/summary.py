"""What a stored run is, in one line: for lists of runs, tables and the heads of reports."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consilience.errors import ConsilienceError, StoreError
from consilience.store import Run, RunSummary, Store

SWEPT = "swept"
"""What a spec says in place of the value of a parameter that is swept."""


@dataclass(frozen=True)
class Summary:
    """A stored run, as people speak of it.

    Attributes:
        id: 64 hexadecimal digits.
        kind: "sweep" for simulations, "computation" for theory and analyses, "damaged" for what cannot be read.
        title: of the run.
        recipe: the recipe that made it, "" if none did or none was recorded.
        algorithm, model: the part and its arguments, "MLP(depth=1, width=20)" say; "" for computations.
        task, graph: by name; by the beginning of their content's SHA-256 if the run was stored without names.
        num_agents: size of the population, servers included; 0 for computations.
        protocol: "quench", "adiabatic_up" or "adiabatic_down"; "" for computations.
        num_rounds: rounds of every replica; 0 for computations.
        swept: parameter → its values.
        blocks_done: finished blocks (of a computation: cells).
        blocks_total: their number when the run is complete.
        created, updated: in UTC; `None` if unknown.
        wall_seconds: time spent on it in seconds, by all processes and resumptions.
        num_bytes: size on disk of all attempts, in bytes.
        versions: library → version with which it was computed.
        problem: why the run cannot be read; "" if it can.
    """

    id: str
    kind: str
    title: str = ""
    recipe: str = ""
    algorithm: str = ""
    model: str = ""
    task: str = ""
    graph: str = ""
    num_agents: int = 0
    protocol: str = ""
    num_rounds: int = 0
    swept: dict[str, list[Any]] = field(default_factory=dict)
    blocks_done: int = 0
    blocks_total: int = 0
    created: datetime.datetime | None = None
    updated: datetime.datetime | None = None
    wall_seconds: float = 0.0
    num_bytes: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def short_id(self) -> str:
        """The first 12 digits of the id, enough for `Store.find`."""
        return self.id[:12]

    @property
    def is_finished(self) -> bool:
        """Whether all its blocks are there."""
        return not self.problem and self.blocks_done >= self.blocks_total


def summaries(store: Store) -> list[Summary]:
    """All runs of a store, the last updated first; damaged ones come last and say why.

    Raises:
        StoreError: the store itself cannot be read. A single damaged run raises nothing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     store = Store(directory)
        ...     _ = store.open_run("0" * 64, {"computation": {"subject": "squares"}, "cells": ["three", "four"]})
        ...     _ = store.open_run("1" * 64, {"not": "ours"})
        ...     [(one.kind, one.blocks_total) for one in summaries(store)]
        [('computation', 2), ('damaged', 0)]
    """
    found = [_of_listed(store, listed) for listed in store.runs()]
    return sorted(found, key=lambda summary: bool(summary.problem))


def summary(run: Run) -> Summary:
    """What one run is.

    Raises:
        StoreError: its spec or record cannot be read, or is not one of this version.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     run = Store(directory).open_run("0" * 64, {"computation": {"subject": "squares"}, "cells": ["three"]})
        ...     run.update_record(title="my squares")
        ...     summary(run).title, summary(run).is_finished
        ('my squares', False)
    """
    files = [path for path in run.path.parent.rglob("*") if path.is_file()]
    return _of_run(run, sum(path.stat().st_size for path in files))


def _of_listed(store: Store, listed: RunSummary) -> Summary:
    if listed.problem is not None:
        return Summary(listed.id, "damaged", title=listed.title or "", num_bytes=listed.num_bytes,
                       problem=listed.problem)  # fmt: skip
    try:
        return _of_run(store.find(listed.id), listed.num_bytes)
    except ConsilienceError as error:
        return Summary(listed.id, "damaged", title=listed.title or "", num_bytes=listed.num_bytes, problem=str(error))


def _of_run(run: Run, num_bytes: int) -> Summary:
    spec, record = run.spec, run.record
    try:
        return _of_documents(run, spec, record, num_bytes)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # Another program or version may have written anything.
        raise StoreError(
            f"The spec or the record of run {run.short_id} is not of the form that this version writes ({error!r}), so "
            f"nothing can be said about it. Another version or program made it: look into {run.path.parent}."
        ) from error


def _of_documents(run: Run, spec: dict[str, Any], record: dict[str, Any], num_bytes: int) -> Summary:
    shared: dict[str, Any] = {
        "id": run.id,
        "title": record.get("title") or "untitled",
        "recipe": (record.get("source") or {}).get("recipe", ""),
        "blocks_done": len(set(run.cells()) & set(spec["cells"])),
        "blocks_total": len(spec["cells"]),
        "created": _time(record.get("created")),
        "updated": _time(record.get("updated")),
        "wall_seconds": float(record.get("wall_seconds", 0.0)),
        "num_bytes": num_bytes,
        "versions": dict(record.get("versions", {})),
    }
    if "computation" in spec:
        return Summary(kind="computation", algorithm=str(spec["computation"].get("subject", "")), **shared)
    experiment, parts = spec["experiment"], record.get("parts", {})
    return Summary(
        kind="sweep",
        algorithm=part(experiment["algorithm"]),
        model=part(experiment["model"]),
        task=parts.get("task") or f"task {experiment['task']['task'][:12]}",
        graph=parts.get("graph") or f"graph {experiment['graph']['graph']['array'][:12]}",
        num_agents=len(experiment["roles"]),
        protocol=spec["protocol"],
        num_rounds=experiment["num_rounds"],
        swept={name: list(values) for name, values in spec["over"].items()},
        **shared,
    )


def _time(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)


def part(described: Any) -> str:
    """A part of a spec as one would write it in Python, without its package.

    Args:
        described: what `consilience.experiments.describe` makes of it.

    Example:
        >>> part({"class": "consilience.models.mlp.MLP", "depth": 1, "activation": "relu"})
        "MLP(depth=1, activation='relu')"
        >>> part({"class": "consilience.algorithms.diffusive_coupling.DiffusiveCoupling", "coupling": "swept"})
        'DiffusiveCoupling(coupling=swept)'
    """
    if isinstance(described, Mapping) and "class" in described:
        name = described["class"].partition("#")[0].rpartition(".")[2]
        arguments = [f"{key}={part(value)}" for key, value in described.items() if key != "class"]
        return f"{name}({', '.join(arguments)})"
    if isinstance(described, Mapping) and "array" in described:
        return f"array{tuple(described['shape'])}"
    if isinstance(described, Mapping):
        return "{" + ", ".join(f"{key}: {part(value)}" for key, value in described.items()) + "}"
    if isinstance(described, list):
        return "[" + ", ".join(map(part, described)) + "]"
    return SWEPT if described == SWEPT else repr(described)
