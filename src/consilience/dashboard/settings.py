"""What a session begins with, as the page's form asks for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.algorithms import catalog
from consilience.dashboard.uploads import path_of
from consilience.errors import DataError, InvalidSpec, UnknownName
from consilience.experiments.spec import WHOLE_SHARD
from consilience.graphs import from_edges_csv
from consilience.messages import Compressor
from consilience.store import Store

DATA_SETS = {
    "digits": {},
    "mnist": {"num_test": 2000},
    "fashion_mnist": {"num_test": 2000},
    "cifar10": {"num_test": 1000},
}
"""Data set → arguments; large test sets are thinned, because all of it is looked at every few rounds."""
PARTITIONS: Mapping[str, Mapping[str, Any]] = {
    "by_class": {},
    "dirichlet": {"alpha": 0.3},
    "shards_per_agent": {"k": 2},
    "iid": {},
}
GRAPHS: Mapping[str, Mapping[str, Any]] = {
    "complete": {},
    "cycle": {},
    "path": {},
    "star": {},
    "erdos_renyi": {"probability": 0.3, "seed": 0},
    "random_regular": {"degree": 4, "seed": 0},
    "watts_strogatz": {"num_neighbours": 4, "rewiring": 0.2, "seed": 0},
    "barabasi_albert": {"num_attachments": 2, "seed": 0},
}
METHODS = [
    name
    for name, entry in catalog().items()
    if not any(
        isinstance(value, Compressor) or dataclasses.is_dataclass(value) for value in entry.representative.values()
    )
]
"""Methods of the catalog that need no choice of parts."""
MOST_AGENTS = 50


@dataclass(frozen=True)
class Settings:
    """A population before it begins.

    Attributes:
        data: name of a data set.
        partition: how shards are made.
        agents: N.
        graph: family.
        depth: D, hidden layers.
        width: neurons of each.
        model: "mlp", or "ntk_mlp" for the wide networks of the kernel theory, which start from the same parameters and
            learn from whole shards by the squared loss, of 1,000 training samples at most.
        method: name in the catalog. Agents start from the same parameters where it asks for that.
        coupling: σ at the start, for methods that have one.
        rate: η, learning rate.
        decay: γ, weight decay.
        batch: samples per mini-batch.
        seed: of everything random.
        graph_file: name of an upload in the place of `graph`, whose number of agents counts then.
        data_file: name of an upload in the place of `data`.

    Example:
        >>> Settings(agents=5, graph="cycle").to_spec()["graph"]
        {'family': 'cycle', 'num_agents': 5}
    """

    data: str = "digits"
    partition: str = "by_class"
    agents: int = 10
    graph: str = "complete"
    model: str = "mlp"
    depth: int = 1
    width: int = 20
    method: str = "diffusive_coupling"
    coupling: float = 0.0
    rate: float = 0.05
    decay: float = 1e-3
    batch: int = 32
    seed: int = 0
    graph_file: str = ""
    data_file: str = ""

    def __post_init__(self) -> None:
        for what, name, known in (
            ("data set", self.data, DATA_SETS),
            ("partition", self.partition, PARTITIONS),
            ("graph", self.graph, GRAPHS),
            ("method of this page", self.method, METHODS),
        ):
            if name not in known:
                raise UnknownName.among(what, name, known)
        if not 2 <= self.agents <= MOST_AGENTS:
            raise InvalidSpec(
                f"{self.agents} agents: the page shows 2 to {MOST_AGENTS}. Use `consilience run` for more."
            )

    def to_spec(self, store: Store | None = None) -> dict[str, Any]:
        """The tables of a spec.

        Args:
            store: where uploads are; needed only if there are any.

        Raises:
            DataError: if an upload is not there.
        """
        model: dict[str, Any] = {"family": self.model, "depth": self.depth}
        return {
            "title": f"live: {self.method} on {self.data}",
            "seed": self.seed,
            "task": self._task(store),
            "partition": {"name": self.partition, "num_agents": self._num_agents(store), **PARTITIONS[self.partition]},
            "model": model if self.depth == 0 else {**model, "width": self.width},
            "graph": self._graph(store),
            "algorithm": self._algorithm(),
            "run": self._run(),
        }

    def _task(self, store: Store | None) -> dict[str, Any]:
        if self.data_file:
            return {"file": str(uploaded(store, self.data_file)), "name": "uploaded"}
        wide = {"loss": "squared", "num_train": 1000} if self._is_wide else {}
        return {"name": self.data, **DATA_SETS[self.data], **wide}

    @property
    def _is_wide(self) -> bool:
        return self.model == "ntk_mlp"

    def _run(self) -> dict[str, Any]:
        batch = {"batch_size": WHOLE_SHARD if self._is_wide else self.batch}
        together = self._is_wide or catalog()[self.method].example().starts_together
        return {**batch, "common_init": True} if together else batch

    def _graph(self, store: Store | None) -> dict[str, Any]:
        if self.graph_file:
            return {"file": str(uploaded(store, self.graph_file)), "directed": False}
        return {"family": self.graph, "num_agents": self.agents, **GRAPHS[self.graph]}

    def _num_agents(self, store: Store | None) -> int:
        if self.graph_file:
            return from_edges_csv(uploaded(store, self.graph_file), directed=False).num_agents
        return self.agents

    def _algorithm(self) -> dict[str, Any]:
        """The catalog's typical values, with those of the form in the place of what they have."""
        values = dict(catalog()[self.method].representative) | {"learning_rate": self.rate}
        values |= {"coupling": self.coupling} if "coupling" in values else {}
        values |= {"weight_decay": self.decay} if "weight_decay" in values else {}
        return {"name": self.method, **values}


def uploaded(store: Store | None, name: str) -> Path:
    """Where an upload is.

    Raises:
        DataError: if there is no store, or no such upload in it.
    """
    if store is None:
        raise DataError(f"The upload {name} is in a store, and none was named.")
    path = path_of(store, name)
    if not path.exists():
        raise DataError(f"The file {name} is not in this store any more. Bring it again.")
    return path


def from_query(query: Mapping[str, str]) -> Settings:
    """The settings of an address, `?data=mnist&agents=5`; what is not there has its default.

    Raises:
        InvalidSpec: for a value that cannot be.

    Example:
        >>> from_query({"agents": "5", "session": "0123456789ab"}).agents
        5
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        if field.name in query:
            kind = type(field.default)
            try:
                values[field.name] = kind(query[field.name])
            except ValueError as error:
                raise InvalidSpec(
                    f"{field.name}={query[field.name]!r} in the address is no {kind.__name__}. Write "
                    f"{field.name}={field.default}."
                ) from error
    return Settings(**values)


def to_query(settings: Settings) -> dict[str, str]:
    """What of the settings differs from the defaults; the inverse of `from_query`.

    Example:
        >>> to_query(Settings(agents=5))
        {'agents': '5'}
    """
    fields = dataclasses.fields(Settings)
    return {f.name: str(getattr(settings, f.name)) for f in fields if getattr(settings, f.name) != f.default}
