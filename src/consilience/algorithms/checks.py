"""The conformance suite: what every method must satisfy, runnable on anybody's method.

Each check takes a `Problem` and raises `AssertionError` with an explanation. `check` runs them all on a small problem:
three agents with different quadratic losses, on the first of a few graphs that the method accepts unless another one is
given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms.algorithm import Algorithm, Context, Inbox, Local, Message, State, check_pair
from consilience.algorithms.run_round import Network, contexts, deliver, run_round
from consilience.errors import IncompatiblePair
from consilience.graphs import Graph, complete, cycle, path
from consilience.messages import encode, from_bytes, num_bits


@dataclass(frozen=True)
class Problem:
    """A method on a small population of linear models with squared loss, in one precision."""

    algorithm: Algorithm
    network: Network
    locals: tuple[Local, ...]
    params: tuple[Any, ...]

    def initial(self) -> list[State]:
        """The states of all agents before round 0."""
        told = self.told_at_the_start
        return [self.algorithm.init(params, context) for params, context in zip(self.params, told, strict=True)]

    @cached_property
    def history(self) -> list[list[State]]:
        """The states of all agents before and after each of three rounds."""
        states = [self.initial()]
        for round in range(3):
            states.append(run_round(self.algorithm, states[-1], self.locals, self.network, round=round))
        return states

    @cached_property
    def told_at_the_start(self) -> list[Context]:
        """The context in which each agent is initialised."""
        return contexts(self.algorithm, self.network, round=0, exchange=0, seed=0)

    @cached_property
    def received(self) -> list[list[tuple[Context, Inbox]]]:
        """Context and inbox of every agent in every exchange of round 1, played from the initial states."""
        algorithm, everyone = self.algorithm, range(len(self.locals))
        states, received = self.initial(), []
        for exchange in range(algorithm.num_exchanges):
            who = contexts(algorithm, self.network, round=1, exchange=exchange, seed=0)
            emitted = [algorithm.emit(states[i], self.locals[i], who[i]) for i in everyone]
            inboxes = [deliver(algorithm, self.network, [message for _, message in emitted], i) for i in everyone]
            states = [algorithm.absorb(emitted[i][0], inboxes[i], self.locals[i], who[i]) for i in everyone]
            received.append(list(zip(who, inboxes, strict=True)))
        return received


def one_agent(
    algorithm: Algorithm, params: Any, local: Local, start: Context, received: list[tuple[Context, Inbox]]
) -> tuple[list[Message], State]:
    """What an agent sends in a round, and its state after it, given what it receives in every exchange."""
    state, sent = algorithm.init(params, start), []
    for context, inbox in received:
        state, message = algorithm.emit(state, local, context)
        state = algorithm.absorb(state, inbox, local, context)
        sent.append(message)
    return sent, state


def quadratic_problem(algorithm: Algorithm, *, graph: Graph | None = None, dtype: Any = None) -> Problem:
    """`algorithm` on agents whose losses are quadratics with different minima and curvatures, of both signs."""
    dtype = dtype or jnp.result_type(float)
    graph = graph or accepted_graph(algorithm) or complete(3)
    mixing = algorithm.default_mixing(graph)
    check_pair(algorithm, graph, mixing)
    random = np.random.default_rng(0)
    num_steps, batch, features, outputs = algorithm.num_local_steps, 6, 4, 2
    locals_ = tuple(
        Local(
            inputs=jnp.asarray(random.normal(size=(num_steps, batch, features)), dtype),
            targets=jnp.asarray(random.normal(size=(num_steps, batch, outputs)), dtype),
            weights=None,
            apply=_linear,
            loss_function=_squared,
        )
        for _ in range(graph.num_agents)
    )
    params = tuple(
        {
            "weight": jnp.asarray(random.normal(size=(features, outputs)), dtype),
            "bias": jnp.asarray(random.normal(size=(outputs,)), dtype),
        }
        for _ in range(graph.num_agents)
    )
    cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if _is_real(leaf) else leaf, algorithm)
    return Problem(cast, Network(graph, mixing), locals_, params)


def accepted_graph(algorithm: Algorithm, num_agents: int = 3) -> Graph | None:
    """The first that a method accepts of the complete graph, a path and a directed cycle; `None` if it refuses all.

    Example:
        >>> from consilience.algorithms import DGD
        >>> accepted_graph(DGD(learning_rate=0.1), 5).name
        'complete(5)'
    """
    for graph in (complete(num_agents), path(num_agents), cycle(num_agents, directed=True)):
        with contextlib.suppress(IncompatiblePair):
            check_pair(algorithm, graph, algorithm.default_mixing(graph))
            return graph
    return None


def _linear(params: Any, inputs: jax.Array) -> jax.Array:
    return inputs @ params["weight"] + params["bias"]


def _squared(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return ((outputs - targets) ** 2).sum(-1) / 2


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, float) or (eqx.is_array_like(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating))


def _signature(tree: Any) -> Any:
    """Structure, shapes and dtypes, in a form that compares and prints well."""
    return [
        (jax.tree_util.keystr(path), jnp.shape(leaf), str(jnp.result_type(leaf)))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _assert_close(actual: Any, expected: Any, message: str) -> None:
    assert _signature(actual) == _signature(expected), f"{message}: {_signature(actual)} against {_signature(expected)}"
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
            continue
        # A few rounds of sums of a few terms: some hundred roundings of relative size eps.
        tolerance = 1e3 * float(jnp.finfo(a.dtype).eps) if jnp.issubdtype(jnp.result_type(a), jnp.floating) else 0
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=message)


def check_starts_at_the_given_parameters(problem: Problem) -> None:
    """`params(init(p))` is p, so that a run starts where it was told to."""
    for state, params in zip(problem.initial(), problem.params, strict=True):
        _assert_close(problem.algorithm.params(state), params, "params(init(p)) differs from p")


def check_is_pure(problem: Problem) -> None:
    """The same inputs give the same outputs: no hidden state, no other source of randomness than the keys."""
    again = run_round(problem.algorithm, problem.initial(), problem.locals, problem.network)
    for a, b in zip(problem.history[1], again, strict=True):
        assert all(bool(jnp.array_equal(x, y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)), (
            "two runs with the same seed differ; draw random numbers from context.key or context.shared_key only"
        )


def check_state_is_stable(problem: Problem) -> None:
    """Structure, shapes and dtypes of the state do not change from round to round."""
    for before, after in zip(*problem.history[:2], strict=True):
        assert _signature(before) == _signature(after), (
            f"a round turns the state {_signature(before)} into {_signature(after)}; it must keep structure, shapes "
            "and dtypes, or rounds cannot be scanned"
        )


def check_stays_finite(problem: Problem) -> None:
    """A few rounds on gentle quadratics give finite parameters."""
    for state in problem.history[-1]:
        for leaf in jax.tree.leaves(problem.algorithm.params(state)):
            assert bool(jnp.isfinite(leaf).all()), "three rounds on a gentle quadratic gave NaN or infinity"


def check_vectorises_over_agents(problem: Problem) -> None:
    """A round under `vmap` over agents and `jit` equals the loop: no Python branch on a context's array."""
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    received = [list(of_agent) for of_agent in zip(*problem.received, strict=True)]
    everyone = list(zip(problem.params, problem.locals, problem.told_at_the_start, received, strict=True))
    one_by_one = stack([one_agent(problem.algorithm, *agent) for agent in everyone])
    together = jax.jit(jax.vmap(partial(one_agent, problem.algorithm)))(*stack(everyone))
    _assert_close(together, one_by_one, "a round under vmap over agents differs from the loop over agents")


def check_hyper_parameters_sweep(problem: Problem) -> None:
    """Stacked hyper-parameters under `vmap`, compiled once for all values, give what each does alone, to an agent."""
    leaves, structure = jax.tree.flatten(problem.algorithm)
    numeric = [index for index, leaf in enumerate(leaves) if _is_real(leaf)]
    if not numeric:
        return

    first = problem.params[0], problem.locals[0], problem.told_at_the_start[0], [all_[0] for all_ in problem.received]

    def run(values: list[jax.Array]) -> Any:
        changed = list(leaves)
        for index, value in zip(numeric, values, strict=True):
            changed[index] = value
        return one_agent(jax.tree.unflatten(structure, changed), *first)

    values = [jnp.asarray(leaves[index]) * jnp.asarray([1.0, 0.5], jnp.result_type(leaves[index])) for index in numeric]
    together = jax.jit(jax.vmap(run))(values)
    for replica in range(2):
        alone = run([value[replica] for value in values])
        _assert_close(
            jax.tree.map(lambda leaf, r=replica: leaf[r], together),
            alone,
            "hyper-parameters stacked under vmap give another result than one at a time",
        )


def check_bits_are_counted(problem: Problem) -> None:
    """Every message is a pytree of arrays that becomes bytes and comes back the same."""
    algorithm = problem.algorithm
    states = problem.history[1]
    for exchange in range(algorithm.num_exchanges):
        who = contexts(algorithm, problem.network, round=1, exchange=exchange, seed=0)
        for state, local, context in zip(states, problem.locals, who, strict=True):
            _, message = algorithm.emit(state, local, context)
            data = encode(message)
            assert 8 * len(data) == num_bits(message), f"{len(data)} bytes were counted as {num_bits(message)} bits"
            for sent, received in zip(
                jax.tree.leaves(message), jax.tree.leaves(from_bytes(data, message)), strict=True
            ):
                assert np.array_equal(np.asarray(sent), received), "a message does not survive its way through bytes"


CHECKS: tuple[Callable[[Problem], None], ...] = (
    check_starts_at_the_given_parameters,
    check_is_pure,
    check_state_is_stable,
    check_stays_finite,
    check_vectorises_over_agents,
    check_hyper_parameters_sweep,
    check_bits_are_counted,
)
"""The checks, in the order in which they run."""


@dataclass(frozen=True)
class Report:
    """Outcome of the conformance suite.

    Attributes:
        algorithm: name of the class.
        failures: check and precision → what went wrong; empty when all passed.
        num_checks: how many checks ran.
    """

    algorithm: str
    failures: dict[str, str]
    num_checks: int

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.failures

    def __str__(self) -> str:
        head = f"{self.algorithm}: {self.num_checks - len(self.failures)} of {self.num_checks} checks passed"
        return "\n".join([head, *(f"  {name}: {reason}" for name, reason in self.failures.items())])


def check(algorithm: Algorithm, *, graph: Graph | None = None) -> Report:
    """Run the conformance suite on a method, in single and in double precision.

    Args:
        algorithm: an instance with typical hyper-parameters (a learning rate near 0.1 suits the test problem).
        graph: the graph to run on, if not one of three agents that the method accepts.

    Returns:
        What passed and what failed, with reasons; `str(report)` is readable.

    Example:
        >>> from consilience import algorithms
        >>> print(algorithms.check(algorithms.DGD(learning_rate=0.1)))
        DGD: 14 of 14 checks passed
    """
    failures = {}
    for dtype in (jnp.float32, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            problem = quadratic_problem(algorithm, graph=graph, dtype=dtype)
            for run in CHECKS:
                try:
                    run(problem)
                except Exception as error:  # the report carries whatever a user's method raises
                    name = run.__name__.removeprefix("check_").replace("_", " ")
                    failures[f"{name} ({dtype.__name__})"] = f"{type(error).__name__}: {error}".strip()
    return Report(type(algorithm).__name__, failures, 2 * len(CHECKS))
