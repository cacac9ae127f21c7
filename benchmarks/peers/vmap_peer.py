"""PyTorch's own way to batch networks: `stack_module_state`, `functional_call` and `vmap(grad(...))`."""

from __future__ import annotations

import torch
from protocol import Params, Problem, serve
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional
from torch_network import network_of


class Vmap:
    def __init__(self, problem: Problem, initial: Params, learning_rate: float) -> None:
        self.problem, self.learning_rate = problem, learning_rate
        self.images, self.labels = torch.from_numpy(problem.images), torch.from_numpy(problem.labels)
        networks = [network_of(initial, agent) for agent in range(problem.num_agents)]
        stacked, _ = stack_module_state(networks)  # type: ignore[arg-type]
        self.stacked = {name: leaf.detach() for name, leaf in stacked.items()}
        template = networks[0].to("meta")

        def loss(params: dict[str, torch.Tensor], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(functional_call(template, params, (images,)), labels)

        self.gradients = vmap(grad(loss))

    @torch.no_grad()
    def advance(self, first_round: int, num_rounds: int) -> None:
        for round in range(first_round, first_round + num_rounds):
            batch = torch.from_numpy(self.problem.batch(round))
            gradients = self.gradients(self.stacked, self.images[batch], self.labels[batch])
            for name, leaf in self.stacked.items():
                leaf.sub_(gradients[name], alpha=self.learning_rate)
                leaf.copy_(leaf.mean(dim=0, keepdim=True).expand_as(leaf))

    def params(self) -> Params:
        leaves = [leaf.numpy() for leaf in self.stacked.values()]
        turned = [leaf.swapaxes(1, 2) if leaf.ndim == 3 else leaf for leaf in leaves]
        return {name: leaf[None] for name, leaf in zip(self.problem.common, turned, strict=True)}

    def close(self) -> None: ...


if __name__ == "__main__":
    serve(["torch"], Vmap)
