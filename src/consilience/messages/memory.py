"""Memories: what agents keep so that what a compressor leaves out is not lost."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from consilience.messages.coding import Message, decode
from consilience.messages.compressors import Compressor

State = Any


class Memory(eqx.Module):
    """What an agent keeps between rounds for a quantity x that it sends compressed in each of them.

    The receiver gets the mean Σ_j w_ij of the decoded messages, and `receive` says what it takes Σ_j w_ij x_j to be.
    """

    needs_every_message: ClassVar[bool] = False
    """Whether receivers keep something that a lost message would leave wrong for good."""

    @abc.abstractmethod
    def init(self, like: Message) -> State:
        """The memory before the first message, for a quantity of that structure."""

    @abc.abstractmethod
    def send(self, state: State, value: Message, compressor: Compressor, key: jax.Array) -> tuple[State, Message]:
        """The new memory, and what travels of `value`."""

    @abc.abstractmethod
    def receive(self, state: State, mixed: Message) -> tuple[State, Message]:
        """The new memory, and what Σ_j w_ij x_j is taken to be, given Σ_j w_ij of the messages."""


class NoMemory(Memory):
    """C(x) travels, and what it leaves out is lost: for unbiased compressors.

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import TopK, decode
        >>> _, message = NoMemory().send((), jnp.array([1.0, 4.0]), TopK(0.5), None)
        >>> decode(message).tolist()
        [0.0, 4.0]
    """

    def init(self, like: Message) -> State:
        """Nothing."""
        return ()

    def send(self, state: State, value: Message, compressor: Compressor, key: Any) -> tuple[State, Message]:
        """C(x)."""
        return state, compressor.compress(value, key)

    def receive(self, state: State, mixed: Message) -> tuple[State, Message]:
        """What arrived."""
        return state, mixed


class ErrorFeedback(Memory):
    """C(x + e) travels, and e becomes what it left out: nothing is lost, only late.

    The sum of all that was decoded, and e, is the sum of all that was given to send.

    Source:
        F. Seide et al., 1-bit stochastic gradient descent, Interspeech 2014 [seide2014]; S. U. Stich, J.-B. Cordonnier
        and M. Jaggi, Sparsified SGD with memory, NeurIPS 2018, Algorithm 1 [stich2018].

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import TopK, decode
        >>> memory, x = ErrorFeedback(), jnp.array([3.0, 4.0])
        >>> state, first = memory.send(memory.init(x), x, TopK(0.5), None)
        >>> state, second = memory.send(state, x, TopK(0.5), None)
        >>> decode(first).tolist(), decode(second).tolist(), state.tolist()
        ([0.0, 4.0], [6.0, 0.0], [0.0, 4.0])
    """

    def init(self, like: Message) -> State:
        """e = 0."""
        return jax.tree.map(jnp.zeros_like, like)

    def send(self, state: State, value: Message, compressor: Compressor, key: Any) -> tuple[State, Message]:
        """C(x + e), and what it leaves out."""
        whole = jax.tree.map(jnp.add, value, state)
        message = compressor.compress(whole, key)
        return jax.tree.map(jnp.subtract, whole, decode(message)), message

    def receive(self, state: State, mixed: Message) -> tuple[State, Message]:
        """What arrived."""
        return state, mixed


class Differences(Memory):
    """C(x − h) travels, and all who hear it add it to their copies of h, which follow x.

    As x settles, differences vanish, and what compression leaves out with them. Receivers keep Σ_j w_ij h_j alone,
    which is enough as long as every message arrives and the weights do not change.

    Source:
        K. Mishchenko et al., Distributed learning with compressed gradient differences (DIANA), arXiv:1901.09269
        [mishchenko2019]; P. Richtárik, I. Sokolov and I. Fatkhullin, EF21, NeurIPS 2021, Algorithm 2 [richtarik2021].

    Example:
        >>> import jax.numpy as jnp
        >>> from consilience.messages import TopK, decode
        >>> memory, x = Differences(), jnp.array([3.0, 4.0])
        >>> state, first = memory.send(memory.init(x), x, TopK(0.5), None)
        >>> state, second = memory.send(state, x, TopK(0.5), None)
        >>> decode(first).tolist(), decode(second).tolist(), state["own"].tolist()
        ([0.0, 4.0], [3.0, 0.0], [3.0, 4.0])
    """

    needs_every_message = True

    def init(self, like: Message) -> State:
        """h = 0, its own and the mean of all."""
        zeros = jax.tree.map(jnp.zeros_like, like)
        return {"own": zeros, "mixed": zeros}

    def send(self, state: State, value: Message, compressor: Compressor, key: Any) -> tuple[State, Message]:
        """C(x − h), and h + C(x − h)."""
        message = compressor.compress(jax.tree.map(jnp.subtract, value, state["own"]), key)
        return {**state, "own": jax.tree.map(jnp.add, state["own"], decode(message))}, message

    def receive(self, state: State, mixed: Message) -> tuple[State, Message]:
        """Σ_j w_ij h_j."""
        follows = jax.tree.map(jnp.add, state["mixed"], mixed)
        return {**state, "mixed": follows}, follows
