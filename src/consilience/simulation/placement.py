"""Where agents live: all on one device, or shared out evenly among the devices of one or of many processes.

Outside compiled programs a `Placement` makes arrays that lie where their agents are, and compiles functions of the
agents of one device for all devices. Inside, a `Reach` is how agents of one device hear those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from consilience.errors import IncompatiblePair
from consilience.graphs import Neighbours

_AXIS = "agents"

Axis: TypeAlias = "int | None"
"""The axis of an array along which agents lie; `None` for what all devices hold alike."""


@dataclass(frozen=True)
class Placement:
    """How the agents of a population are shared out.

    Attributes:
        devices: none for JAX's default device, where everything then is. Otherwise the agents lie on them in order, in
            equal numbers.
    """

    devices: tuple[Any, ...] = ()

    @property
    def num_parts(self) -> int:
        """Devices that hold agents."""
        return len(self.devices) or 1

    @property
    def spans_processes(self) -> bool:
        """Whether some agents are out of this process's sight."""
        return len({device.process_index for device in self.devices}) > 1

    @cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (_AXIS,))

    def _sharding(self, axis: Axis) -> NamedSharding:
        return NamedSharding(self._mesh, _spec(axis))

    def agents_here(self, num_agents: int) -> range:
        """The agents that live in this process."""
        if not self.devices:
            return range(num_agents)
        size = num_agents // self.num_parts
        mine = [part for part, device in enumerate(self.devices) if device.process_index == jax.process_index()]
        return range(min(mine) * size, (max(mine) + 1) * size)

    def put(self, tree: Any, axis: Axis) -> Any:
        """Arrays that every process holds whole, each device taking its agents' part."""
        if not self.devices:
            return jax.tree.map(jnp.asarray, tree)

        def put(leaf: Any) -> jax.Array:
            if isinstance(leaf, jax.Array) and leaf.sharding == self._sharding(axis):
                return leaf
            whole = np.asarray(leaf)
            whole = whole.astype(jax.dtypes.canonicalize_dtype(whole.dtype), copy=False)
            return jax.make_array_from_callback(whole.shape, self._sharding(axis), lambda index: whole[index])

        return jax.tree.map(put, tree)

    def put_own(self, own: np.ndarray, axis: int, num_agents: int) -> Any:
        """An array of which each process holds the part of its own agents."""
        if not self.devices:
            return own
        shape = (*own.shape[:axis], num_agents, *own.shape[axis + 1 :])
        return jax.make_array_from_process_local_data(self._sharding(axis), own, shape)

    def get(self, tree: Any) -> Any:
        """Whole arrays of this process as NumPy arrays, wherever their parts are. All processes must ask together."""
        if self.spans_processes:
            tree = jax.jit(lambda tree: tree, out_shardings=self._sharding(None))(tree)
            return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), tree)
        return jax.tree.map(np.asarray, tree)

    def agree(self, decision: bool) -> bool:
        """The first process's decision, for all."""
        if not self.spans_processes:
            return decision
        from jax.experimental import multihost_utils

        return bool(multihost_utils.broadcast_one_to_all(np.asarray(decision)))

    def for_own_agents(self, function: Callable[..., Any], in_axes: tuple[Axis, ...], out_axes: Any) -> Any:
        """A function of the agents of one device as a program for all devices; axes as prefixes of pytrees."""
        if not self.devices:
            return jax.jit(function)
        specs = jax.tree.map(_spec, (in_axes, out_axes), is_leaf=lambda axis: axis is None)
        return jax.jit(jax.shard_map(function, mesh=self._mesh, in_specs=specs[0], out_specs=specs[1], check_vma=False))

    def for_everybody(self, function: Callable[..., Any]) -> Any:
        """A function of all agents as a program whose result every device holds; the compiler shares out the work."""
        return jax.jit(function, out_shardings=self._sharding(None)) if self.devices else jax.jit(function)


def _spec(axis: Axis) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, _AXIS)


def place(num_agents: int, devices: Sequence[Any] | None = None) -> Placement:
    """The placement of a population.

    Args:
        num_agents: agents, servers included.
        devices: the devices to share them out among. By default the process's first device, or all devices of all
            processes if there are several (`cs.simulation.join`).

    Raises:
        IncompatiblePair: the agents cannot be shared out evenly.

    Example:
        >>> place(10).num_parts
        1
    """
    if devices is None:
        devices = jax.devices() if jax.process_count() > 1 else ()
    if devices and num_agents % len(devices):
        fitting = [count for count in range(1, len(devices) + 1) if num_agents % count == 0]
        raise IncompatiblePair(
            f"{num_agents} agents cannot be shared out evenly among {len(devices)} devices. Use "
            f"{-(-num_agents // len(devices)) * len(devices)} agents, or {fitting[-1]} devices."
        )
    return Placement(tuple(devices))


@dataclass(frozen=True, eq=False)
class Reach:
    """How the agents of one device hear the others, inside a program; on a single device there is nothing to do.

    Only what is needed travels: for a sum over everybody one array, for neighbour lists the neighbours' messages. From
    each device to the one d further on, messages go in one exchange, for every d at which any agent has a neighbour.

    Attributes:
        neighbours: everybody's neighbour lists.
        num_parts: devices among which the agents are shared out.
    """

    neighbours: Neighbours
    num_parts: int = 1

    def rows(self, table: Any) -> Any:
        """The rows of a table of all agents, (agents, ...), that are of agents here."""
        if self.num_parts == 1:
            return table
        size = len(table) // self.num_parts
        return jax.lax.dynamic_slice_in_dim(jnp.asarray(table), jax.lax.axis_index(_AXIS) * size, size)

    def totals(self, partial: Any) -> Any:
        """The sums over devices of a pytree, which travels as one array: each exchange costs a latency."""
        if self.num_parts == 1:
            return partial
        leaves, structure = jax.tree.flatten(partial)
        packed = jax.lax.psum(jnp.concatenate([leaf.ravel() for leaf in leaves]), _AXIS)
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        parts = jnp.split(packed, ends)
        return structure.unflatten(
            part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)
        )

    def everywhere(self, flags: jax.Array) -> jax.Array:
        """Whether a flag is raised on all devices."""
        return flags if self.num_parts == 1 else jax.lax.pmin(flags.astype(jnp.int32), _AXIS) == 1

    def everyone(self, leaf: jax.Array) -> jax.Array:
        """All agents' messages, from those of agents here."""
        return leaf if self.num_parts == 1 else jax.lax.all_gather(leaf, _AXIS, tiled=True)

    def heard(self, leaf: jax.Array) -> jax.Array:
        """The messages that agents here may listen to, in the order of `slots`: their own, then what comes in."""
        parts = [leaf]
        for shift, wanted in self._wanted.items():
            rows = jnp.asarray(wanted)[jax.lax.axis_index(_AXIS)]
            to = [(part, (part + shift) % self.num_parts) for part in range(self.num_parts)]
            parts.append(jax.lax.ppermute(leaf[rows], _AXIS, to))
        return jnp.concatenate(parts) if len(parts) > 1 else leaf

    @property
    def num_heard(self) -> int:
        """Messages that come in from other devices, per device."""
        return sum(wanted.shape[1] for wanted in self._wanted.values())

    @cached_property
    def slots(self) -> np.ndarray:
        """Where each agent's neighbours stand in `heard`, shape (agents, slots)."""
        if self.num_parts == 1:
            return self.neighbours.ids
        ids, size = self.neighbours.ids, len(self.neighbours.ids) // self.num_parts
        result = np.empty_like(ids)
        for part in range(self.num_parts):
            own = ids[part * size : (part + 1) * size]
            position = np.zeros(len(ids), np.int32)
            position[part * size : (part + 1) * size] = np.arange(size)
            offset = size
            for shift, wanted in self._wanted.items():
                sender = (part - shift) % self.num_parts
                # The first of equal rows counts: the rest of a list is filled up with its last entry.
                position[sender * size + wanted[sender][::-1]] = offset + np.arange(wanted.shape[1])[::-1]
                offset += wanted.shape[1]
            result[part * size : (part + 1) * size] = position[own]
        return result

    @cached_property
    def _wanted(self) -> dict[int, np.ndarray]:
        """For each shift, the rows that a device sends to the one so much further on, shape (devices, rows)."""
        if self.num_parts == 1:
            return {}
        ids, size = self.neighbours.ids, len(self.neighbours.ids) // self.num_parts
        needed = [np.unique(ids[part * size : (part + 1) * size]) for part in range(self.num_parts)]
        result = {}
        for shift in range(1, self.num_parts):
            lists = []
            for sender in range(self.num_parts):
                rows = needed[(sender + shift) % self.num_parts]
                lists.append(rows[(rows >= sender * size) & (rows < (sender + 1) * size)] - sender * size)
            longest = max(len(rows) for rows in lists)
            if longest:
                result[shift] = np.stack([np.pad(rows, (0, longest - len(rows)), mode="edge") if len(rows) else
                                          np.zeros(longest, rows.dtype) for rows in lists])  # fmt: skip
        return result
