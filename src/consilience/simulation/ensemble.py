"""The vectorised simulator: an experiment for all agents and replicas at once, scanned over rounds.

`Ensemble` derives everything from the algorithm's functions for one agent: `emit` and `absorb` are vectorised over
replicas, then over agents; messages travel between the two as matrix products; rounds follow one another in a compiled
loop. States go in and come out; what differs from replica to replica goes in as `Replicas`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import Algorithm, Context, Inbox, Local
from consilience.observables import EvaluationSet, Population
from consilience.randomness import Purpose, key
from consilience.simulation.batching import batch_indices
from consilience.simulation.exchange import Exchange
from consilience.simulation.experiment import Experiment
from consilience.simulation.inputs import agent_table, evaluation_set, training_data
from consilience.simulation.vectorising import agents_at_once, over_agents_and_replicas


class Replicas(eqx.Module):
    """What distinguishes the replicas of an ensemble.

    Attributes:
        algorithm: the algorithm, its numeric hyper-parameters stacked to shape (replicas,).
        seeds: shape (replicas,), or () if all are equal.
    """

    algorithm: Algorithm
    seeds: jax.Array


class _Turn(eqx.Module):
    """What all agents and replicas share in one round."""

    round: jax.Array
    active: jax.Array
    roles: jax.Array


class Ensemble:
    """An experiment compiled for a number of replicas.

    Holds nothing but constants and compiled programs, so that one ensemble serves many blocks of a sweep. Must be made
    and used within the `precision` of its experiment.

    Args:
        experiment: what is simulated.
        num_replicas: replicas side by side.
        same_seed: whether they share the seed, and with it mini-batches and random keys.
    """

    def __init__(self, experiment: Experiment, *, num_replicas: int, same_seed: bool) -> None:
        self.experiment = experiment
        self.num_replicas = num_replicas
        self.same_seed = same_seed
        self.shares_batches = experiment.batch_size is None or same_seed
        self.dtype = jnp.dtype(experiment.dtype)
        self.compile_seconds = 0.0
        self._exchange = Exchange(experiment.algorithm, experiment.graph, experiment.mixing, experiment.schedules)
        self._agents = agent_table(experiment, self.dtype)
        self._data = training_data(experiment, self.dtype)
        self._evaluation = evaluation_set(experiment, self.dtype, num_replicas=num_replicas)
        shares = experiment.data_shares
        self._data_shares = None if shares is None else jnp.asarray(shares, self.dtype)
        self._agents_at_once = agents_at_once(experiment, num_replicas, experiment.num_agents)
        self._programs: dict[str, Any] = {}
        self._compiling = threading.Lock()

    def replicas(self, algorithms: Sequence[Algorithm], seeds: Sequence[int]) -> Replicas:
        """The replicas of some algorithms, which differ in numeric hyper-parameters only, and their seeds."""
        stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), self.dtype), *algorithms)
        return Replicas(stacked, jnp.asarray(seeds[0] if self.same_seed else seeds, jnp.uint32))

    # ---- one agent and one replica -----------------------------------------------------------------------------

    def _context(self, agent: Any, seed: Any, turn: _Turn, exchange: int) -> Context:
        return Context(
            round=turn.round,
            agent=agent["agent"],
            role=turn.roles,
            active=turn.active,
            shard_weight=agent["shard_weight"],
            degree=agent["degree"],
            neighbours=agent["neighbours"],
            neighbour_mask=agent["neighbour_mask"],
            key=key(seed, Purpose.AGENT, turn.round, agent["agent"]),
            shared_key=key(seed, Purpose.SHARED, turn.round),
            num_agents=self.experiment.num_agents,
            exchange=exchange,
        )

    def _local(self, batch: dict[str, jax.Array]) -> Local:
        return Local(
            inputs=batch["inputs"],
            targets=batch["targets"],
            weights=batch.get("weights"),
            apply=self.experiment.model.apply,
            loss_function=self.experiment.task.loss,
        )

    def _initial_params(self, agent: Any, seed: Any) -> Any:
        e = self.experiment
        counter = jnp.zeros_like(agent["agent"]) if e.common_init else agent["agent"]
        params = e.model.init(key(seed, Purpose.INITIAL_PARAMETERS, counter), e.task.input_shape, e.task.num_outputs)
        return jax.tree.map(lambda leaf: leaf.astype(self.dtype), params)

    def _initial_state(self, algorithm: Algorithm, params: Any, agent: Any, seed: Any) -> Any:
        role = jnp.asarray(self.experiment.roles)[agent["agent"]]
        turn = _Turn(jnp.asarray(0), jnp.asarray(True), role)
        return algorithm.init(params, self._context(agent, seed, turn, 0))

    def _vectorised(self, function: Any, replica_axes: tuple[Any, ...], agent_axes: tuple[Any, ...]) -> Any:
        """`function` of one agent and replica for all of them; each axis is 0 or `None`."""
        return over_agents_and_replicas(
            function, replica_axes=replica_axes, agent_axes=agent_axes, at_once=self._agents_at_once
        )

    @property
    def _seed_axis(self) -> int | None:
        return None if self.same_seed else 0

    # ---- the population ----------------------------------------------------------------------------------------

    def initial_params(self, seeds: Sequence[int]) -> Any:
        """The parameters of all agents and replicas before round 0, leaves (replicas, agents, ...)."""
        e = self.experiment
        if e.initial_params is not None:
            per_agent = jnp.ndim(jax.tree.leaves(e.initial_params)[0]) > jax.tree.leaves(e.params_shapes)[0].ndim

            def spread(leaf: Any) -> np.ndarray:
                one = np.shape(leaf)[1 if per_agent else 0 :]
                return np.broadcast_to(np.asarray(leaf), (self.num_replicas, e.num_agents, *one))

            return jax.tree.map(spread, e.initial_params)

        # A loop, not vmap: random numbers vectorised over agents and seeds take seconds to compile.
        def of_agents(seed: jax.Array) -> Any:
            return jax.lax.map(lambda agent: self._initial_params(agent, seed), self._agents)

        distinct, replica = np.unique(seeds, return_inverse=True)
        drawn = self._call("draw", lambda seeds: jax.lax.map(of_agents, seeds), jnp.asarray(distinct, jnp.uint32))
        return jax.tree.map(lambda leaf: np.asarray(leaf)[replica], drawn)

    def initial_state(self, replicas: Replicas, params: Any) -> Any:
        """The states of all agents and replicas that start from `params`, leaves (replicas, agents, ...)."""
        start = self._vectorised(self._initial_state, (0, 0, None, self._seed_axis), (None, 0, 0, None))
        agents_first = jax.tree.map(lambda leaf: jnp.swapaxes(jnp.asarray(leaf, self.dtype), 0, 1), params)
        return self._call("start", start, replicas.algorithm, agents_first, self._agents, replicas.seeds)

    def _state_params(self, replicas: Replicas, state: Any) -> Any:
        """The parameters by which the agents are judged, leaves (agents, replicas, ...)."""
        return jax.vmap(jax.vmap(lambda a, s: a.params(s)), in_axes=(None, 0))(replicas.algorithm, state)

    def _round(self, replicas: Replicas, state: Any, batch: Any, round: jax.Array) -> Any:
        """One round of the whole population."""
        e = self.experiment
        active = None if e.schedules.active is None else e.schedules.active(round)
        turn = _Turn(
            round=round,
            active=jnp.ones(e.num_agents, bool) if active is None else active,
            roles=jnp.asarray(e.roles) if e.schedules.roles is None else e.schedules.roles(round),
        )
        before = state
        for exchange in range(e.algorithm.num_exchanges):
            state = self._exchange_once(replicas, state, batch, turn, exchange)
        if active is None or e.algorithm.manages_absence:
            return state
        return jax.tree.map(
            lambda new, old: jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old), state, before
        )

    def _exchange_once(self, replicas: Replicas, state: Any, batch: Any, turn: _Turn, exchange: int) -> Any:
        """`emit` for all, delivery, `absorb` for all."""

        def emit(algorithm: Algorithm, state: Any, batch: Any, agent: Any, seed: Any, turn: _Turn) -> Any:
            return algorithm.emit(state, self._local(batch), self._context(agent, seed, turn, exchange))

        def absorb(
            algorithm: Algorithm, state: Any, batch: Any, agent: Any, seed: Any, turn: _Turn, inbox: Inbox
        ) -> Any:
            return algorithm.absorb(state, inbox, self._local(batch), self._context(agent, seed, turn, exchange))

        per_replica = (0, 0, None if self.shares_batches else 0, None, self._seed_axis, None)
        per_agent = (None, 0, 0, 0, None, _Turn(None, 0, 0))  # pyright: ignore[reportArgumentType]
        first, rest = (replicas.algorithm,), (batch, self._agents, replicas.seeds, turn)
        state, messages = self._vectorised(emit, per_replica, per_agent)(*first, state, *rest)
        inbox = self._exchange.deliver(messages, round=turn.round, active=turn.active)
        # Received messages are (agents, slots, replicas, ...); who sent them is the same for all replicas.
        inbox_axes = Inbox(mixed=0, coupled=0, messages=1, senders=None, weights=None, mask=None)  # pyright: ignore
        return self._vectorised(absorb, (*per_replica, inbox_axes), (*per_agent, 0))(*first, state, *rest, inbox)

    def _batch(self, data: Any, indices: Any) -> Any:
        if indices is None:
            return data
        return {"inputs": data["inputs"][indices], "targets": data["targets"][indices]}

    def _is_finite(self, replicas: Replicas, state: Any) -> jax.Array:
        """Whether all parameters of each replica are finite, shape (replicas,)."""

        def of_leaf(leaf: jax.Array) -> jax.Array:
            return jnp.isfinite(leaf).all(axis=(0, *range(2, leaf.ndim)))

        flags = jax.tree.map(of_leaf, self._state_params(replicas, state))
        return jnp.stack(jax.tree.leaves(flags)).all(axis=0)

    # ---- programs ----------------------------------------------------------------------------------------------

    def _advance(
        self, state: Any, replicas: Replicas, data: Any, indices: Any, first_round: Any, num_rounds: Any
    ) -> Any:
        def body(step: jax.Array, state: Any) -> Any:
            batch = self._batch(data, None if indices is None else indices[step])
            return self._round(replicas, state, batch, first_round + step)

        state = jax.lax.fori_loop(0, num_rounds, body, state)
        return state, self._is_finite(replicas, state)

    def _first_failures(
        self, state: Any, replicas: Replicas, data: Any, indices: Any, first_round: Any, num_rounds: Any
    ) -> jax.Array:
        def body(step: jax.Array, carry: Any) -> Any:
            state, failed = carry
            batch = self._batch(data, None if indices is None else indices[step])
            state = self._round(replicas, state, batch, first_round + step)
            return state, jnp.minimum(failed, jnp.where(self._is_finite(replicas, state), num_rounds, step))

        start = jnp.full((self.num_replicas,), num_rounds, jnp.int32)
        return jax.lax.fori_loop(0, num_rounds, body, (state, start))[1]

    def _measure(
        self, state: Any, replicas: Replicas, evaluation: EvaluationSet, data_shares: Any
    ) -> dict[str, jax.Array]:
        e = self.experiment

        def of_replica(params: Any) -> dict[str, jax.Array]:
            population = Population(
                params=jax.tree.map(lambda leaf: leaf[e.learners], params),
                evaluation=evaluation,
                apply=e.model.apply,
                loss_function=e.task.loss,
                data_shares=data_shares,
            )
            return {observable.name: observable.measure(population) for observable in e.observables}

        return jax.vmap(of_replica, in_axes=1)(self._state_params(replicas, state))

    def _call(self, name: str, function: Any, *arguments: Any) -> Any:
        """`function(*arguments)`, compiled once for each name and shape of arguments, with the time that took."""
        shapes = [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(arguments)]
        signature = f"{name} {shapes}"
        with self._compiling:  # blocks of a sweep share an ensemble, and may run on threads
            if signature not in self._programs:
                start = time.perf_counter()
                self._programs[signature] = jax.jit(function).lower(*arguments).compile()
                self.compile_seconds += time.perf_counter() - start
        return self._programs[signature](*arguments)

    def _loop_arguments(self, seeds: Sequence[int], first_round: int, num_rounds: int, capacity: int) -> Any:
        e = self.experiment
        indices = None
        if e.batch_size is not None:
            indices = batch_indices(
                e.shards,
                seeds=seeds,
                first_round=first_round,
                num_rounds=num_rounds,
                num_local_steps=e.algorithm.num_local_steps,
                batch_size=e.batch_size,
            )
            padding = np.zeros((capacity - num_rounds, *indices.shape[1:]), indices.dtype)
            indices = np.concatenate([indices, padding])
        return self._data, indices, np.int32(first_round), np.int32(num_rounds)

    def advance(
        self, state: Any, replicas: Replicas, seeds: Sequence[int], first_round: int, num_rounds: int, capacity: int
    ) -> tuple[Any, np.ndarray]:
        """Run rounds `first_round` … `first_round + num_rounds − 1`.

        Args:
            state: the population before them, leaves (agents, replicas, ...).
            replicas: what distinguishes the replicas.
            seeds: their seeds.
            first_round: index of the first round.
            num_rounds: how many, at most `capacity`.
            capacity: one compilation serves all numbers of rounds up to it.

        Returns:
            The state after them, and whether each replica's parameters are all finite, shape (replicas,).
        """
        arguments = self._loop_arguments(seeds, first_round, num_rounds, capacity)
        state, finite = self._call("advance", self._advance, state, replicas, *arguments)
        return state, np.asarray(finite)

    def first_failures(
        self, state: Any, replicas: Replicas, seeds: Sequence[int], first_round: int, num_rounds: int
    ) -> np.ndarray:
        """For each replica the first of these rounds after which a parameter is not finite, or the round after them.

        Replays the rounds with a check after each; needed only when `advance` reports a failure.
        """
        arguments = self._loop_arguments(seeds, first_round, num_rounds, num_rounds)
        return first_round + np.asarray(self._call("first_failures", self._first_failures, state, replicas, *arguments))

    def measure(self, state: Any, replicas: Replicas) -> dict[str, np.ndarray]:
        """All observables, each of shape (replicas, ...)."""
        values = self._call("measure", self._measure, state, replicas, self._evaluation, self._data_shares)
        return jax.tree.map(np.asarray, values)

    def final_params(self, state: Any, replicas: Replicas) -> Any:
        """The parameters of the learners, leaves (replicas, learners, ...), as NumPy arrays."""
        params = self._call("params", self._state_params, replicas, state)
        return jax.tree.map(lambda leaf: np.asarray(leaf).swapaxes(0, 1)[:, self.experiment.learners], params)
