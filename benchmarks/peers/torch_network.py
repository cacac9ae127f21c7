"""The 784-20-10 network as a PyTorch module, for the adapters of libraries that take one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from protocol import Params
from torch import nn


def network_of(params: Params, agent: int) -> nn.Sequential:
    """The network of one agent; PyTorch holds a weight as (outputs, inputs)."""
    layers: list[nn.Module] = []
    for depth in range(len(params) // 2):
        linear = nn.Linear(*params[f"weight_{depth}"].shape[1:])
        layers += [nn.ReLU(), linear] if depth else [linear]
    network = nn.Sequential(*layers)
    set_params(network, params, agent)
    return network


@torch.no_grad()
def set_params(network: nn.Module, params: Params, agent: int) -> None:
    """Give a network the parameters of one agent."""
    for own, name in zip(network.parameters(), params, strict=True):
        leaf = torch.from_numpy(params[name][agent])
        own.copy_(leaf.T if leaf.ndim == 2 else leaf)


def params_of(networks: Sequence[nn.Module]) -> Params:
    """The parameters of the agents' networks, leaves (1, agents, ...)."""
    leaves = [[own.detach().numpy().T for own in network.parameters()] for network in networks]
    stacked = [np.stack(agents)[None] for agents in zip(*leaves, strict=True)]
    names = [f"{kind}_{depth}" for depth in range(len(stacked) // 2) for kind in ("weight", "bias")]
    return dict(zip(names, stacked, strict=True))
