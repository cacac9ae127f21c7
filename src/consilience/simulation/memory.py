"""Memory that a block will need, compared with what is free before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from consilience.errors import NotEnoughMemory
from consilience.simulation.experiment import Experiment
from consilience.simulation.placement import Placement


def free_bytes(placement: Placement) -> int | None:
    """Free memory of the devices that hold agents, the least of them; `None` where the system does not say.

    Processors have the machine's memory, or what the process's control group allows.
    """
    devices = placement.devices or jax.local_devices()[:1]
    mine = [device for device in devices if device.process_index == jax.process_index()]
    found = [_of_accelerator(device) if device.platform != "cpu" else _of_machine(len(mine)) for device in mine]
    known = [free for free in found if free is not None]
    return min(known) if known else None


def _of_accelerator(device: Any) -> int | None:
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def _of_machine(num_devices: int) -> int | None:
    """What Linux says is available, shared by the devices of this process."""
    limits = [limit for limit in (_of_system(), _of_control_group()) if limit is not None]
    return max(0, min(limits)) // num_devices if limits else None


def _of_system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _of_control_group() -> int | None:
    """What the limit of a container or job leaves; files that are only cached count as free."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        statistics = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return limit - used + int(statistics.get("inactive_file", 0))
    except (OSError, ValueError):  # no control group, or "max": no limit
        return None


def check_memory(needed: int, free: int | None, *, experiment: Experiment, num_replicas: int, num_devices: int) -> None:
    """Refuse a block before it runs out of memory.

    Args:
        needed: bytes beside what is allocated already, per device.
        free: bytes that are free there, or `None` if that is not known.
        experiment: what is simulated.
        num_replicas: replicas of the block.
        num_devices: devices among which its agents are shared out.

    Raises:
        NotEnoughMemory: what is needed, what is free, and what would fit.
    """
    if free is None or needed <= free:
        return
    e = experiment
    fitting = num_replicas * free // needed
    if fitting:
        advice = f"{fitting} would fit: write max_replicas={fitting}"
    else:
        agents = max(1, e.num_agents * free * num_replicas // needed // num_devices * num_devices)
        advice = f"Not even one replica fits; one of about {agents:,} agents would"
    raise NotEnoughMemory(
        f"{num_replicas} replicas of {e.num_agents:,} agents with {e.num_parameters:,} parameters each need "
        f"{_show(needed)} more memory, and {_show(free)} are free. {advice}. Smaller mini-batches, fewer blocks at a "
        "time (fewer workers) and more devices (`consilience launch`) help too."
    )


def _show(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
