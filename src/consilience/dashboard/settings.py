"""What a session begins with, as the page's form asks for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.algorithms import catalog
from consilience.errors import DataError, IncompatiblePair, InvalidSpec, UnknownName
from consilience.experiments.spec import WHOLE_SHARD
from consilience.graphs import from_edges_csv
from consilience.messages import Compressor
from consilience.store import Store
from consilience.tasks import from_npz

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
MODELS = ("mlp", "ntk_mlp")
LIMITS: Mapping[str, tuple[float, float]] = {
    "agents": (2, 50),
    "depth": (0, 6),
    "width": (2, 2048),
    "batch": (1, 1024),
    "seed": (0, 2**31 - 1),
    "coupling": (0.0, 1e6),
    "rate": (1e-9, 1e3),
    "decay": (0.0, 1e3),
}
"""Field of `Settings` → its least and its largest value, in the form, in an address, and for uploads. Where these are
whole, so are those of the field."""
MOST_AGENTS = int(LIMITS["agents"][1])
_UPLOAD = re.compile(r"[0-9a-f]{16}\.(csv|npz)")


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
            learn from whole shards by the squared loss: 1,000 training samples of a named data set, or all of an
            upload, whose labels must be real numbers then.
        method: name in the catalog. Agents start from the same parameters where it asks for that.
        coupling: σ at the start, for methods that have one.
        rate: η, learning rate.
        decay: γ, weight decay.
        batch: samples per mini-batch.
        seed: of everything random.
        graph_file: name of an upload in the place of `graph`, whose number of agents counts then.
        data_file: name of an upload in the place of `data`.

    Raises:
        UnknownName: for a data set, partition, graph, model or method that this page does not have.
        InvalidSpec: for a number outside its `LIMITS`.

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
            ("model of this page", self.model, MODELS),
            ("method of this page", self.method, METHODS),
        ):
            if name not in known:
                raise UnknownName.among(what, name, known)
        for name in LIMITS:
            _check_number(name, getattr(self, name))

    def to_spec(self, store: Store | None = None) -> dict[str, Any]:
        """The tables of a spec.

        Args:
            store: where uploads are; needed only if there are any.

        Raises:
            DataError: if an upload is not there, or damaged, or a graph of more agents than the page shows.
            IncompatiblePair: if wide networks are to learn the classes of an upload.
        """
        model: dict[str, Any] = {"family": self.model, "depth": self.depth}
        return {
            "title": f"live: {self.method} on {'uploaded data' if self.data_file else self.data}",
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
            return self._uploaded_task(uploaded(store, self.data_file))
        wide = {"loss": "squared", "num_train": 1000} if self._is_wide else {}
        return {"name": self.data, **DATA_SETS[self.data], **wide}

    def _uploaded_task(self, path: Path) -> dict[str, Any]:
        # A spec names neither loss nor number of samples of a file: its labels decide, and all samples count.
        if self._is_wide and from_npz(path).is_classification:
            raise IncompatiblePair(
                "The labels of this upload are classes, which are learned by cross-entropy, and the theory of ntk_mlp "
                "is that of the squared loss. Bring y and y_test as real numbers, one-hot say "
                "(np.eye(classes)[y]), with the partition iid, or choose the model mlp."
            )
        return {"file": str(path), "name": "uploaded"}

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
            path = uploaded(store, self.graph_file)
            return from_edges_csv(path, directed=False, most_agents=MOST_AGENTS).num_agents
        return self.agents

    def _algorithm(self) -> dict[str, Any]:
        """The catalog's typical values, with those of the form in the place of what they have."""
        values = dict(catalog()[self.method].representative) | {"learning_rate": self.rate}
        values |= {"coupling": self.coupling} if "coupling" in values else {}
        values |= {"weight_decay": self.decay} if "weight_decay" in values else {}
        return {"name": self.method, **values}


def _check_number(name: str, value: Any) -> None:
    """Refuse what is no number, or outside the limits of the field."""
    low, high = LIMITS[name]
    kinds = int if isinstance(low, int) else (int, float)
    if not isinstance(value, kinds) or not low <= value <= high:
        raise InvalidSpec(
            f"{name} = {value!r}: this page takes {'whole' if kinds is int else 'finite'} numbers from {low:,} to "
            f"{high:,} here. Write {name} = {getattr(Settings, name)}, say; a spec and `consilience run` have other "
            "limits."
        )


def path_of(store: Store, name: str) -> Path:
    """Where an upload is kept.

    Raises:
        DataError: for a name that `uploads.keep` never gave.
    """
    if not _UPLOAD.fullmatch(name):
        raise DataError(f"{name!r} is no file that was brought to this laboratory. Bring it again.")
    return store.path.absolute() / "uploads" / name


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
        InvalidSpec: for a value that cannot be, as `Settings`.

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
