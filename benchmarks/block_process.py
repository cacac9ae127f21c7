"""One block of a sweep in a process of its own, as a worker of the executor `processes` runs it.

    python block_process.py '{"network": "D = 1", "couplings": [0.0, 1.0], "capacity": 400}'

The number of XLA's threads is the environment variable NPROC. Obeys commands, one JSON object per line of standard
input, and answers each with one on standard output:

    {"do": "advance", "rounds": 400}       {"seconds": ...}
    {"do": "params", "path": "x.npz"}      {}, and the parameters of all couplings and agents in that file
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from workloads import Workload, make_block, operations


class Crew:
    """Processes that run the blocks of a workload side by side, with one thread each."""

    def __init__(self, workload: Workload, couplings: list[list[float]], capacity: int, data_dir: str | None) -> None:
        self.processes = []
        self.round = 0
        for own in couplings:
            order = {"network": workload.network, "couplings": own, "capacity": capacity, "data_dir": data_dir}
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, __file__, json.dumps(order)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "NPROC": "1"},
                )
            )
        for process in self.processes:
            _answer(process)

    def advance(self, rounds: int) -> float:
        """Run some rounds of all blocks; the seconds until the last is done."""
        start = time.perf_counter()
        self._ask(do="advance", rounds=rounds)
        return time.perf_counter() - start

    def params(self, directory: Path) -> dict[str, np.ndarray]:
        """Name → parameters of all couplings and agents."""
        paths = [directory / f"block-{k}.npz" for k in range(len(self.processes))]
        for process, path in zip(self.processes, paths, strict=True):
            _tell(process, {"do": "params", "path": str(path)})
            _answer(process)
        blocks = [dict(np.load(path, allow_pickle=False)) for path in paths]
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def close(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=60)

    def _ask(self, **command: Any) -> None:
        for process in self.processes:
            _tell(process, command)
        for process in self.processes:
            _answer(process)


def _tell(process: subprocess.Popen[str], command: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(command) + "\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("A block's process ended before it answered; its own message is above.")
    return json.loads(line)


def main() -> None:
    order = json.loads(sys.argv[1])
    workload = Workload(order["network"])
    block = make_block(workload, order["couplings"], capacity=order["capacity"], data_dir=order["data_dir"])
    block.advance(1)
    block.restart()
    print(json.dumps({"operations": operations(workload)}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "advance":
            print(json.dumps({"seconds": block.advance(command["rounds"])}), flush=True)
        else:
            np.savez(command["path"], **block.params())
            print("{}", flush=True)


if __name__ == "__main__":
    main()
