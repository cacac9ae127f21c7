"""How much of the machine's matrix peak the sweeps of figure 3 reach, at every depth, and a convolutional network.

    python benchmarks/limits.py                 on processors: one block on one core, then one block per core
    python benchmarks/limits.py --device gpu    one block on the device, for growing numbers of replicas

Counted are the products of the first layer, forwards and backwards, as in `throughput.py`, and for the convolutional
network all its products; over all the time of a round.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from block_process import Crew
from throughput import matrix_peak, processor, spread
from workloads import Workload, make_block, make_task, operations

HERE = Path(__file__).resolve().parent
NETWORKS = ("D = 0", "D = 1", "D = 2", "cnn")
REPLICAS = 8
NUM_AGENTS = 10


def couplings(count: int) -> list[float]:
    """Below the stability limit of figure 3's learning rate."""
    return [float(value) for value in np.linspace(0.0, 300.0, count)]


def rates(side: Any, rounds: int, replicas: int, repeats: int) -> tuple[list[float], list[float]]:
    """Agent-steps per second, and the matrix peak beside each measurement."""
    found, peaks = [], []
    side.advance(rounds)
    for _ in range(repeats):
        found.append(rounds * NUM_AGENTS * replicas / side.advance(rounds))
        peaks.append(matrix_peak())
    return found, peaks


def on_processors(arguments: argparse.Namespace) -> list[str]:
    cores = os.cpu_count() or 1
    lines = [
        f"| network | one core: agent-steps per second | {cores} cores: agent-steps per second | share of the peak | "
        "GFLOP/s |",
        "|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        workload, rounds = Workload(network), 8 if network == "cnn" else 300
        everything = {}
        for blocks in (1, cores):
            crew = Crew(workload, blocks * [couplings(REPLICAS)], rounds, arguments.data_dir)
            everything[blocks] = rates(crew, rounds, blocks * REPLICAS, arguments.repeats)
            crew.close()
        found, peaks = everything[cores]
        flops = [operations(workload) * rate for rate in found]
        reached = [100 * one / peak for one, peak in zip(flops, peaks, strict=True)]
        lines.append(
            f"| {network} | {spread(everything[1][0], ',.0f')} | {spread(found, ',.0f')} | "
            f"**{spread(reached, '.0f')} %** | {np.median(flops) / 1e9:.0f} of {np.median(peaks) / 1e9:.0f} |"
        )
    return lines


def on_device(arguments: argparse.Namespace) -> list[str]:
    lines = [
        "| network | replicas | agent-steps per second | share of the peak | GFLOP/s |",
        "|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        workload = Workload(network)
        for replicas in (8, 32, 128):
            block = make_block(workload, couplings(replicas), capacity=200, data_dir=arguments.data_dir)
            found, peaks = rates(block, 200, replicas, arguments.repeats)
            flops = [operations(workload) * rate for rate in found]
            reached = [100 * one / peak for one, peak in zip(flops, peaks, strict=True)]
            lines.append(
                f"| {network} | {replicas} | {spread(found, ',.0f')} | {spread(reached, '.0f')} % | "
                f"{np.median(flops) / 1e9:.0f} of {np.median(peaks) / 1e9:.0f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="where MNIST and CIFAR-10 are looked for first")
    parser.add_argument("--device", default="cpu", help="cpu, gpu or tpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    import jax

    import consilience as cs

    try:
        cs.simulation.use_device(arguments.device)
    except cs.errors.InvalidSpec as error:
        raise SystemExit(str(error)) from None
    report = arguments.report or HERE / "reports" / ("limits.md" if arguments.device == "cpu" else "limits-gpu.md")
    table = on_processors(arguments) if arguments.device == "cpu" else on_device(arguments)
    data = {name: make_task(name, arguments.data_dir)[1] for name in ("mnist", "cifar10")}
    lines = [
        "# Shares of the matrix peak",
        "",
        "Made by `make bench` (`benchmarks/limits.py`)." if arguments.device == "cpu" else "Made by `make bench-gpu`.",
        "",
        *table,
        "",
        f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}; {jax.devices()[0].device_kind}, {processor()}; "
        f"{os.cpu_count()} processors; load average before the run {load:.1f}. consilience {cs.__version__}, "
        f"JAX {jax.__version__}, Python {platform.python_version()}.",
        f"- Ten agents with one class each on the complete graph, Eq. (2), mini-batches of 32, single precision. Width "
        f"20 on {data['mnist']}; convolutions of 8 and 16 channels on {data['cifar10']}. On processors a block of "
        f"{REPLICAS} couplings per core, each in a process of one thread.",
        "- Counted: 4 · batch · 784 · width operations per agent-step for dense networks (their first layer; width 10 "
        "at D = 0), all products of the convolutional network; over all the time of a round. The peak, the better of "
        f"XLA and NumPy's BLAS on matrices of 2,048, is measured in between. {arguments.repeats} measurements, "
        "median (range).",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
