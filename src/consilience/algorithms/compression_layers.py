"""Federated averaging of some of a model's arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.federated_averaging import FederatedAveraging
from consilience.algorithms.reparametrised import reparametrised
from consilience.errors import InvalidSpec

if TYPE_CHECKING:
    from consilience.models import Params


class PartialAveraging(FederatedAveraging):
    """FedAvg of some arrays of a model: they learn and travel, and all others stay as they were.

    With a small network inserted into a pre-trained one and trained alone, this is federated fine-tuning by sequential
    compression layers; with low-rank terms beside frozen weights, it is FedLoRA.

    Update rule:
        φ ← φ + Σ_{i active} n_i (φ_i − φ) / Σ_{i active} n_i,  φ_i = `local_steps` steps from φ on agent i's shard,
        with φ the arrays named by `trainable`, and the rest of θ constant
    Reduces to:
        `FederatedAveraging` if all arrays are trainable.
    Cost:
        the trainable arrays up and down per active agent and round; `local_steps` gradients.
    Assumes:
        the complete graph (a server that hears everybody); common initial parameters, the frozen ones too.
    Known limits:
        as good as what the trainable arrays can express on top of the frozen ones; client drift as in FedAvg.
    Source:
        N. Mahla, S. Gupta and A. Sethi, Sequential compression layers for efficient federated learning in foundational
        models, arXiv:2412.07021 [mahla2024]; averaging, H. B. McMahan et al., Communication-efficient learning of deep
        networks from decentralized data, AISTATS 2017, Algorithm 1 [mcmahan2017].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖φ‖²; its gradient is 2γφ.
        local_steps: steps between two averages.
        optimiser: of the local steps; forgets everything between rounds, as participants do.
        compressor: of what travels up.
        memory: what agents keep of what the compressor left out.
        server: the server's optimiser, for which the mean of −(φ_i − φ) is a gradient; plain by default.
        server_rate: the server's learning rate; 1 keeps the mean.
        trainable: names of arrays, or of what holds arrays, as "layer_1" or "layer_1/weight"; empty for all.

    Example:
        >>> PartialAveraging(learning_rate=0.1, trainable=("layer_1/bias", "layer_2")).trainable
        ('layer_1/bias', 'layer_2')
    """

    trainable: tuple[str, ...] = eqx.field(static=True, default=(), converter=tuple)

    def init(self, params: Params, context: Context) -> State:
        """The arrays that learn, as in FedAvg, and those that do not."""
        part, frozen = eqx.partition(params, self._chosen(params))
        return {**FederatedAveraging.init(self, part, context), "frozen": frozen}

    def _chosen(self, params: Params) -> Any:
        """Which arrays learn: booleans in the place of arrays."""
        paths = ["/".join(map(_name, path)) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        for name in self.trainable:
            if not any(_is_within(path, name) for path in paths):
                raise InvalidSpec(
                    f"PartialAveraging(trainable={self.trainable!r}): the model has no array {name!r}, and none within "
                    f"it. Write some of {', '.join(paths)}, or the beginning of one up to a slash."
                )
        chosen = [not self.trainable or any(_is_within(path, name) for name in self.trainable) for path in paths]
        return jax.tree.structure(params).unflatten(chosen)

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn what is trainable; send how far it has moved."""
        own, frozen = _without_frozen(state)
        of_part = reparametrised(local, lambda part: eqx.combine(part, frozen))
        own, message = FederatedAveraging.emit(self, own, of_part, context)
        return {**own, "frozen": frozen}, message

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Move what is trainable by the weighted mean of those who took part."""
        own, frozen = _without_frozen(state)
        return {**FederatedAveraging.absorb(self, own, inbox, local, context), "frozen": frozen}

    def params(self, state: State) -> Params:
        """The global model, in one piece."""
        return eqx.combine(state["params"], state["frozen"])


def _without_frozen(state: State) -> tuple[State, Params]:
    return {name: value for name, value in state.items() if name != "frozen"}, state["frozen"]


def _is_within(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}/")


def _name(key: Any) -> str:
    """One step of a path: a key, an index or an attribute."""
    return str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))))
