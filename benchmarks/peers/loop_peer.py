"""The hand-written PyTorch loop: one module per agent, trained one after the other, then averaged leaf by leaf."""

from __future__ import annotations

import torch
from protocol import Params, Problem, serve
from torch.nn import functional
from torch_network import network_of, params_of


class Loop:
    def __init__(self, problem: Problem, initial: Params, learning_rate: float) -> None:
        self.problem, self.learning_rate = problem, learning_rate
        self.images, self.labels = torch.from_numpy(problem.images), torch.from_numpy(problem.labels)
        self.networks = [network_of(initial, agent) for agent in range(problem.num_agents)]
        self.parameters = [list(network.parameters()) for network in self.networks]

    def advance(self, first_round: int, num_rounds: int) -> None:
        for round in range(first_round, first_round + num_rounds):
            batches = torch.from_numpy(self.problem.batch(round))
            for network, own, batch in zip(self.networks, self.parameters, batches, strict=True):
                loss = functional.cross_entropy(network(self.images[batch]), self.labels[batch])
                gradients = torch.autograd.grad(loss, own)
                with torch.no_grad():
                    for leaf, gradient in zip(own, gradients, strict=True):
                        leaf.sub_(gradient, alpha=self.learning_rate)
            with torch.no_grad():
                for leaves in zip(*self.parameters, strict=True):
                    mean = torch.stack(leaves).mean(dim=0)
                    for leaf in leaves:
                        leaf.copy_(mean)

    def params(self) -> Params:
        return params_of(self.networks)

    def close(self) -> None: ...


if __name__ == "__main__":
    serve(["torch"], Loop)
