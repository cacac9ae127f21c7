"""decent-dp: one process per agent over torch.distributed (gloo), on its complete topology.

The processes are forked from this one instead of started by torchrun, which spares each the import of PyTorch; like
torchrun, each is given one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from decent_dp.ddp import DecentralizedDataParallel
from decent_dp.utils import initialize_dist
from protocol import Params, Problem, serve
from torch.nn import functional
from torch_network import network_of, params_of, set_params


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Agent:
    """What one process holds."""

    def __init__(self, rank: int, problem: Problem, initial: Params) -> None:
        self.rank, self.problem = rank, problem
        self.images, self.labels = torch.from_numpy(problem.images), torch.from_numpy(problem.labels)
        self.network = network_of(initial, rank)
        self.optimisers: list[torch.optim.SGD] = []
        self.model = DecentralizedDataParallel(self.network, self._optimiser, topology="complete")
        self.model.train()

    def _optimiser(self, named: list[tuple[str, torch.Tensor]]) -> torch.optim.SGD:
        self.optimisers.append(torch.optim.SGD([leaf for _, leaf in named], lr=0.0))
        return self.optimisers[-1]

    def restart(self, initial: Params, learning_rate: float) -> None:
        """From these parameters; the library's own start copies agent 0 to everybody."""
        if not self.optimisers:  # made when the second round begins
            self.advance(0, 2)
        self.model.global_avg(will_revert=False)  # waits for averages on their way, and forgets them
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = learning_rate
        set_params(self.network, initial, self.rank)

    def advance(self, first_round: int, num_rounds: int) -> None:
        for round in range(first_round, first_round + num_rounds):
            batch = torch.from_numpy(self.problem.batch(round)[self.rank])
            functional.cross_entropy(self.model(self.images[batch]), self.labels[batch]).backward()

    def params(self) -> Params:
        return params_of([self.network])


def _run_agent(rank: int, port: int, problem: Problem, initial: Params, calls: Connection) -> None:
    """One agent's process: answers calls of its methods, (name, *arguments)."""
    torch.set_num_threads(1)
    size = str(problem.num_agents)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    initialize_dist()
    agent = Agent(rank, problem, initial)
    while True:
        name, *arguments = calls.recv()
        calls.send(getattr(agent, name)(*arguments))


class Processes:
    """All agents' processes. They end with this one."""

    def __init__(self, problem: Problem, initial: Params) -> None:
        fork = multiprocessing.get_context("fork")
        port = _free_port()
        self.pipes = []
        for rank in range(problem.num_agents):
            ours, theirs = fork.Pipe()
            fork.Process(target=_run_agent, args=(rank, port, problem, initial, theirs), daemon=True).start()
            theirs.close()  # so that an agent that has ended is noticed
            self.pipes.append(ours)

    def call(self, name: str, *arguments: Any) -> list[Any]:
        """The answers of all agents."""
        for pipe in self.pipes:
            pipe.send((name, *arguments))
        return [pipe.recv() for pipe in self.pipes]

    def advance(self, first_round: int, num_rounds: int) -> None:
        self.call("advance", first_round, num_rounds)

    def params(self) -> Params:
        agents = self.call("params")
        return {name: np.concatenate([agent[name] for agent in agents], axis=1) for name in agents[0]}

    def close(self) -> None: ...


class Population:
    """Makes the processes once, and starts them anew: a hundred take more than a minute to find each other."""

    def __init__(self) -> None:
        self.processes: Processes | None = None

    def make(self, problem: Problem, initial: Params, learning_rate: float) -> Processes:
        self.processes = self.processes or Processes(problem, initial)
        self.processes.call("restart", initial, learning_rate)
        return self.processes


if __name__ == "__main__":
    serve(["decent-dp", "torch"], Population().make)
