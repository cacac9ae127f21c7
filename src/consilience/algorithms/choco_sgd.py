"""CHOCO-SGD: gossip on compressed differences."""

from __future__ import annotations

from typing import Any

import jax

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.parameters_as_state import LocalSGD
from consilience.algorithms.validation import check_fraction
from consilience.graphs import Graph, MixingMatrix
from consilience.messages import Compressor, Differences, Identity


class ChocoSGD(LocalSGD):
    """CHOCO-SGD: agents send compressed differences to public copies of their parameters, and mix the copies.

    Update rule:
        θ_i ← θ_i − η ∇(L_i + γ‖θ_i‖²), `local_steps` times ;  h_i ← h_i + C(θ_i − h_i) ;
        θ_i ← θ_i + ζ Σ_j w_ij (h_j − h_i)
    Reduces to:
        `AdaptThenCombine` when nothing is compressed and ζ = 1; `Isolated` at ζ = 0; SGD at N = 1.
    Cost:
        one compressed message per edge and round; `local_steps` gradients; two more models in an agent's memory, its
        copy and the mix of its neighbours' copies.
    Assumes:
        a doubly stochastic W that does not change, over links that do not fail; a compressor that is a contraction.
    Known limits:
        ζ must shrink with the compressor's contraction δ and the spectral gap, and diverges silently beyond; it keeps
        the mean whatever the compressor does.
    Source:
        A. Koloskova, S. U. Stich and M. Jaggi, Decentralized stochastic optimization and gossip algorithms with
        compressed communication, ICML 2019, Algorithm 2 (in the memory-saving form of its Algorithm 5)
        [koloskova2019].

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two exchanges.
        optimiser: turns gradients into directions; plain SGD by default.
        consensus_step: ζ in [0, 1], the share of the way to the mix that is gone.
        compressor: C.

    Example:
        >>> from consilience.messages import TopK
        >>> ChocoSGD(learning_rate=0.1, consensus_step=0.2, compressor=TopK(0.1)).compressor
        TopK(fraction=0.1)
    """

    requires = ("doubly_stochastic", "reliable")

    consensus_step: Any = 1.0
    compressor: Compressor = Identity()

    def __check_init__(self) -> None:
        check_fraction(self, consensus_step=self.consensus_step)

    def init(self, params: Any, context: Context) -> State:
        """Parameters, and copies that are zero until the first message."""
        return {**LocalSGD.init(self, params, context), "copies": Differences().init(params)}

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn; send the compressed difference to the public copy."""
        state = {**state, **self.learned(state, local)}
        copies, message = Differences().send(state["copies"], state["params"], self.compressor, context.key)
        return {**state, "copies": copies}, message

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """Go towards the mix of the copies."""
        copies, mixed = Differences().receive(state["copies"], inbox.mixed)
        params = jax.tree.map(
            lambda theta, mix, own: theta + self.consensus_step * (mix - own), state["params"], mixed, copies["own"]
        )
        return {**state, "params": params, "copies": copies}

    def warnings(self, graph: Graph, mixing: MixingMatrix) -> list[str]:
        """Says when nothing is gained by a compressor that is not a contraction."""
        if self.compressor.contraction(1000) > 0:
            return []
        return [
            f"compressor={self.compressor} is no contraction: what it leaves out may be larger than what it is given, "
            "and the copies will not follow the parameters. Use TopK, RandomK or Sign, or QSGD with more levels."
        ]
