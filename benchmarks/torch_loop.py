"""The plain PyTorch loop that `throughput.py` compares with: ten modules, trained and coupled one after the other.

Runs in an environment of its own (`requirements-torch.txt`). Reads `inputs.npz` from the directory that it is given,
then obeys commands, one JSON object per line of standard input, and answers each with one on standard output:

    {"do": "check", "couplings": [0.0, 30.0], "rounds": 20}     final parameters of each coupling, into outputs.npz
    {"do": "time", "coupling": 30.0, "rounds": 400}             {"seconds": ...}
    {"do": "threads", "threads": 2}                             from now on

Mini-batches come ready made from `inputs.npz`, so drawing them costs this loop nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Modules = list[nn.Sequential]


def modules_from(initial: dict[str, np.ndarray]) -> Modules:
    """One network per agent; weights arrive as PyTorch holds them, (agents, outputs, inputs)."""
    modules = []
    for agent in range(len(initial["layer_0/weight"])):
        layers: list[nn.Module] = []
        for d in range(len(initial) // 2):
            weight, bias = (torch.from_numpy(initial[f"layer_{d}/{name}"][agent]) for name in ("weight", "bias"))
            linear = nn.Linear(*weight.shape[::-1])
            with torch.no_grad():
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
            layers += [nn.ReLU(), linear] if d else [linear]
        modules.append(nn.Sequential(*layers))
    return modules


def parameters_of(modules: Modules) -> dict[str, np.ndarray]:
    """The inverse of `modules_from`."""
    linears = [[layer for layer in module if isinstance(layer, nn.Linear)] for module in modules]
    result = {}
    for d in range(len(linears[0])):
        result[f"layer_{d}/weight"] = np.stack([agent[d].weight.detach().numpy() for agent in linears])
        result[f"layer_{d}/bias"] = np.stack([agent[d].bias.detach().numpy() for agent in linears])
    return result


def train(
    modules: Modules,
    images: torch.Tensor,
    labels: torch.Tensor,
    batches: torch.Tensor,
    *,
    rounds: int,
    learning_rate: float,
    coupling: float,
    weight_decay: float,
) -> None:
    """Rounds of Eq. (2) on the complete graph, where (ησ/N) Σ_j (θ_j − θ_i) = ησ (θ̄ − θ_i)."""
    parameters = [list(module.parameters()) for module in modules]
    pull = learning_rate * coupling
    keep = 1 - pull - 2 * learning_rate * weight_decay
    for round in range(rounds):
        gradients = []
        for agent, module in enumerate(modules):
            batch = batches[round % len(batches), agent]
            loss = functional.cross_entropy(module(images[batch]), labels[batch])
            gradients.append(torch.autograd.grad(loss, parameters[agent]))
        with torch.no_grad():
            for position in range(len(parameters[0])):
                mean = torch.stack([own[position] for own in parameters]).mean(dim=0)
                for own, gradient in zip(parameters, gradients, strict=True):
                    own[position].mul_(keep).add_(gradient[position], alpha=-learning_rate).add_(mean, alpha=pull)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="holds inputs.npz; outputs.npz is written here")
    arguments = parser.parse_args()
    with np.load(arguments.directory / "inputs.npz", allow_pickle=False) as archive:
        inputs = dict(archive)
    initial = {name.removeprefix("params/"): leaf for name, leaf in inputs.items() if name.startswith("params/")}
    images, labels = torch.from_numpy(inputs["images"]).flatten(1), torch.from_numpy(inputs["labels"]).long()
    batches = torch.from_numpy(inputs["batches"]).long()
    constants = {name: float(inputs[name]) for name in ("learning_rate", "weight_decay")}
    modules = modules_from(initial)
    print(json.dumps({"torch": torch.__version__}), flush=True)
    while line := input_line():
        command, answer = json.loads(line), {}
        if command["do"] == "threads":
            torch.set_num_threads(command["threads"])
        elif command["do"] == "check":
            finals = {}
            for index, coupling in enumerate(command["couplings"]):
                fresh = modules_from(initial)
                train(fresh, images, labels, batches, rounds=command["rounds"], coupling=coupling, **constants)
                finals |= {f"{index}/{name}": leaf for name, leaf in parameters_of(fresh).items()}
            np.savez(arguments.directory / "outputs.npz", **finals)
        else:
            start = time.perf_counter()
            train(modules, images, labels, batches, rounds=command["rounds"], coupling=command["coupling"], **constants)
            answer = {"seconds": time.perf_counter() - start}
        print(json.dumps(answer), flush=True)


def input_line() -> str:
    """The next command, or nothing when the other side has closed."""
    try:
        return input()
    except EOFError:
        return ""


if __name__ == "__main__":
    main()
