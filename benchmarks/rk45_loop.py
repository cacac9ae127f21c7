"""SciPy's RK45, realization by realization: the paper's solver, in a process of its own.

    python benchmarks/rk45_loop.py DIRECTORY

`benchmarks/landau.py` starts it. It reads systems from DIRECTORY/slice.npz, arrays of shape (parts, couplings,
realizations, agents) with a depth for each part, and then commands from its standard input: "check" writes solutions to
DIRECTORY/solutions.npz, "time" answers with the seconds of each integration.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from throughput import limit_threads

Field = Callable[[float, np.ndarray], np.ndarray]


def plain_field(delta: np.ndarray, depth: int, coupling: float, weight_decay: float) -> Field:
    """Eq. (4) on the complete graph as one would write it."""

    def field(t: float, m: np.ndarray) -> np.ndarray:
        return delta * m**depth - m ** (2 * depth + 1) - weight_decay * m + coupling * (m.mean() - m)

    return field


def fast_field(delta: np.ndarray, depth: int, coupling: float, weight_decay: float) -> Field:
    """The same with as few passes over the agents as NumPy allows: Horner's rule, and a dot product for ⟨m⟩."""
    share = np.full(len(delta), coupling / len(delta))
    loss = weight_decay + coupling
    less = delta - loss
    fields: dict[int, Field] = {
        0: lambda t, m: delta + m.dot(share) - (1 + loss) * m,
        1: lambda t, m: m * (less - m * m) + m.dot(share),
        2: lambda t, m: m * (m * (delta - m * m * m) - loss) + m.dot(share),
    }
    return fields[depth]


FORMS = {"fast": fast_field, "plain": plain_field}


class Slice:
    """The systems of the slice; `where` is (part, coupling, realization)."""

    def __init__(self, directory: Path) -> None:
        with np.load(directory / "slice.npz", allow_pickle=False) as archive:
            self.arrays = {name: archive[name] for name in archive.files}
        self.shape = self.arrays["delta"].shape[:3]
        self.tolerances = tuple(self.arrays["tolerances"].tolist())

    def field(self, form: str, where: tuple[int, ...]) -> Field:
        """The right-hand side of one system."""
        a = self.arrays
        depth, coupling = int(a["depths"][where[0]]), float(a["couplings"][where[1]])
        return FORMS[form](a["delta"][where], depth, coupling, float(a["weight_decay"]))

    def solve(self, form: str, where: tuple[int, ...], method: str, rtol: float, atol: float) -> np.ndarray:
        """The states at all times, shape (agents, times)."""
        times, field = self.arrays["times"], self.field(form, where)
        initial = self.arrays["initial"][where]
        return solve_ivp(field, times[[0, -1]], initial, method=method, t_eval=times, rtol=rtol, atol=atol).y

    def cost(self, form: str, where: tuple[int, ...]) -> tuple[float, float]:
        """Seconds of RK45, by the clock and of the processor."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.solve(form, where, "RK45", *self.tolerances)
        return time.perf_counter() - wall, time.process_time() - cpu

    def summary(self, name: str, form: str, method: str, rtol: float, atol: float) -> dict[str, np.ndarray]:
        """Final states, and ⟨m⟩ averaged over all times but the first, of the whole slice."""
        solutions = [self.solve(form, where, method, rtol, atol) for where in np.ndindex(self.shape)]
        states = np.reshape(solutions, (*self.shape, *solutions[0].shape))
        times = self.arrays["times"][1:]
        average = np.trapezoid(states[..., 1:].mean(-2), times) / (times[-1] - times[0])
        return {f"{name}_final": states[..., -1], f"{name}_magnetization": average}


def check(systems: Slice, directory: Path) -> dict[str, Any]:
    """Solve the slice as it is timed; and with tight tolerances, another method and the other form of the field.

    The answer is how much the two forms differ at most.
    """
    rk45 = systems.summary("rk45", "fast", "RK45", *systems.tolerances)
    tight = systems.summary("tight", "plain", "DOP853", 1e-9, 1e-11)
    np.savez(directory / "solutions.npz", allow_pickle=False, **rk45, **tight)
    initial = systems.arrays["initial"]
    slopes = [
        [systems.field(form, where)(0.0, initial[where]) for form in FORMS] for where in np.ndindex(systems.shape)
    ]
    return {"difference": float(np.ptp(slopes, axis=1).max())}


def measure(systems: Slice, first: int, count: int) -> dict[str, Any]:
    """What `count` realizations cost, from `first` on: form → seconds, shape (2, parts, couplings, count)."""
    costs = np.zeros((len(FORMS), 2, *systems.shape[:2], count))
    for part, place, member in np.ndindex(costs.shape[2:]):
        for index, form in enumerate(FORMS):
            costs[index, :, part, place, member] = systems.cost(form, (part, place, first + member))
    return {form: cost.tolist() for form, cost in zip(FORMS, costs, strict=True)}


def main() -> None:
    limit_threads(1)
    directory = Path(sys.argv[1])
    systems = Slice(directory)
    # RK45 tries its first steps, and rejects those that overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "check":
                answer = check(systems, directory)
            else:
                answer = measure(systems, command["first"], command["count"])
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
