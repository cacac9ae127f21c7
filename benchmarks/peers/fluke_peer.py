"""fluke: its federated averaging (`FedAVG`, `Client`, `Server`), every client in every round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from protocol import Params, Problem, serve
from torch_network import network_of, params_of


def _declare_torchvision_operators() -> torch.library.Library | None:
    """Let torchvision be imported where its compiled part does not load (it is built for CUDA only).

    fluke imports torchvision for data sets and networks that are not used here. Without its compiled part that import
    fails, because it describes two operators which then do not exist.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


_OPERATORS = _declare_torchvision_operators()

from fluke import FlukeENV  # noqa: E402
from fluke.algorithms.fedavg import FedAVG  # noqa: E402
from fluke.client import Client  # noqa: E402
from fluke.config import OptimizerConfigurator  # noqa: E402
from fluke.server import Server  # noqa: E402


class Batches:
    """An agent's mini-batches, one for each epoch: stands where fluke has its data loader."""

    batch_size = 32

    def __init__(self, problem: Problem, agent: int, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.problem, self.agent, self.images, self.labels, self.round = problem, agent, images, labels, 0

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batch = torch.from_numpy(self.problem.batch(self.round)[self.agent])
        self.round += 1
        yield self.images[batch], self.labels[batch]


class Federation:
    def __init__(self, problem: Problem, initial: Params, learning_rate: float) -> None:
        FlukeENV().set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
        images, labels = torch.from_numpy(problem.images), torch.from_numpy(problem.labels)
        nothing: Any = None
        self.clients = []
        for agent in range(problem.num_agents):
            batches: Any = Batches(problem, agent, images, labels)
            optimiser = OptimizerConfigurator({"name": "SGD", "lr": learning_rate})
            loss = torch.nn.CrossEntropyLoss()
            self.clients.append(Client(agent, batches, nothing, optimiser, loss, local_epochs=1))
        self.server = Server(network_of(initial, 0), None, self.clients)
        self.algorithm = FedAVG(problem.num_agents, nothing, {}, clients=self.clients, server=self.server)

    def advance(self, first_round: int, num_rounds: int) -> None:
        self.algorithm.run(num_rounds, eligible_perc=1)

    def params(self) -> Params:
        """The global model, from which every client starts its next round."""
        return params_of([self.server.model] * len(self.clients))

    def close(self) -> None: ...


def exchange(problem: Problem) -> Params:
    """One aggregation of clients that hold different parameters."""
    federation = Federation(problem, problem.common, 0.0)
    for agent, client in enumerate(federation.clients):
        client.model = network_of(problem.distinct, agent)
        client.send_model()
    models = federation.server.receive_client_models(federation.clients, state_dict=False)
    federation.server.aggregate(federation.clients, models)
    return federation.params()


if __name__ == "__main__":
    serve(["fluke-fl", "torch"], Federation, exchange)
