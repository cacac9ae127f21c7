"""The vectorised simulator: an experiment for all agents and replicas at once, scanned over rounds.

`Ensemble` derives everything from the algorithm's functions for one agent: `emit` and `absorb` are vectorised over
replicas, then over agents; messages travel between the two as matrix products; rounds follow one another in a compiled
loop. States go in and come out; what differs from replica to replica goes in as `Replicas`. The same programs run on
one device, where all agents are, or on each of several devices for the agents that live there (`Placement`).
"""

from __future__ import annotations

import copy
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from consilience.algorithms import Algorithm, Context, Inbox, Local
from consilience.observables import EvaluationSet, Population
from consilience.randomness import Purpose, key
from consilience.simulation.batching import batch_indices
from consilience.simulation.compilation import compiled
from consilience.simulation.exchange import EVERYBODY, Delivery, Exchange, Group
from consilience.simulation.experiment import Experiment, state_shapes
from consilience.simulation.inputs import Samples, Shards, agent_table, evaluation_set, training_data
from consilience.simulation.memory import check_memory, free_bytes
from consilience.simulation.placement import Placement, Reach
from consilience.simulation.vectorising import activations, depends, in_order, over_agents_and_replicas


class Replicas(eqx.Module):
    """What distinguishes the replicas of an ensemble.

    Attributes:
        algorithm: the algorithm, its numeric hyper-parameters stacked to shape (replicas,).
        seeds: shape (replicas,), or () if all are equal.
    """

    algorithm: Algorithm
    seeds: jax.Array


class _Turn(eqx.Module):
    """What a round is for its agents: its index, and for each agent whether it takes part, and its role."""

    round: jax.Array
    active: jax.Array
    roles: jax.Array


class _Supply(eqx.Module):
    """What the rounds of a loop read beside states: the agents' table, training data, and which samples they see.

    Agents take their samples themselves, so that groups of agents need only their own at a time.
    """

    agents: dict[str, jax.Array]
    data: Samples | Shards
    indices: jax.Array | None


class Ensemble:
    """An experiment compiled for a number of replicas.

    Holds nothing but constants and compiled programs, so that one ensemble serves many blocks of a sweep. Must be made
    and used within the `precision` of its experiment.

    Args:
        experiment: what is simulated.
        num_replicas: replicas side by side.
        same_seed: whether they share the seed, and with it mini-batches and random keys.
        placement: where its agents are; all on one device by default.
    """

    def __init__(
        self, experiment: Experiment, *, num_replicas: int, same_seed: bool, placement: Placement | None = None
    ) -> None:
        self.experiment = experiment
        self.num_replicas = num_replicas
        self.same_seed = same_seed
        self.shares_batches = experiment.batch_size is None or same_seed
        self.dtype = jnp.dtype(experiment.dtype)
        self.placement = placement = placement or Placement()
        self._compiled = threading.local()
        # Before anything is allocated: parameters as they are drawn, the first state and the one after it.
        parameters = experiment.num_parameters * experiment.num_agents * num_replicas * self.dtype.itemsize
        self._refuse_beyond_memory(3 * parameters // placement.num_parts)
        self._reach = Reach(experiment.graph.neighbours, placement.num_parts)
        parts = experiment.algorithm, experiment.graph, experiment.mixing, experiment.schedules
        self._exchange = Exchange(*parts, self._reach)
        self._agents = placement.put(agent_table(experiment, self.dtype), 0)
        self._data_axis = 0 if experiment.batch_size is None else None
        self._data = placement.put(training_data(experiment, self.dtype), self._data_axis)
        self._evaluation = placement.put(evaluation_set(experiment, self.dtype, num_replicas=num_replicas), None)
        shares = experiment.data_shares
        self._data_shares = None if shares is None else placement.put(jnp.asarray(shares, self.dtype), None)
        self._activations = activations(experiment)
        agents_here = experiment.num_agents // placement.num_parts
        self._agents_at_once = self._activations.agents_at_once(num_replicas, agents_here)
        self._programs: dict[str, Any] = {}
        # Links and absences are constants of the loops over rounds: each edition of them has loops of its own.
        self._editions, self._edition = [experiment], 0
        self._compiling = threading.Lock()

    def changed(self, experiment: Experiment) -> Ensemble:
        """The ensemble after an intervention. What has not changed is shared, compiled programs above all.

        Args:
            experiment: this one's with other hyper-parameters, shards, links or absent agents.
        """
        other = copy.copy(self)
        other.experiment = experiment
        other._agents = other.placement.put(agent_table(experiment, other.dtype), 0)
        if experiment.shards is not self.experiment.shards:
            if experiment.batch_size is None:
                other._data = other.placement.put(training_data(experiment, other.dtype), other._data_axis)
            shares = experiment.data_shares
            other._data_shares = None if shares is None else other.placement.put(jnp.asarray(shares, other.dtype), None)
        other._reach = Reach(experiment.graph.neighbours, other.placement.num_parts)
        parts = experiment.algorithm, experiment.graph, experiment.mixing, experiment.schedules
        other._exchange = Exchange(*parts, other._reach)
        with self._compiling:
            known = [edition for edition, links in enumerate(self._editions) if _same_links(links, experiment)]
            other._edition = known[0] if known else len(self._editions)
            if not known:
                self._editions.append(experiment)
        return other

    def replicas(self, algorithms: Sequence[Algorithm], seeds: Sequence[int]) -> Replicas:
        """The replicas of some algorithms, which differ in numeric hyper-parameters only, and their seeds."""
        stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), self.dtype), *algorithms)
        replicas = Replicas(stacked, jnp.asarray(seeds[0] if self.same_seed else seeds, jnp.uint32))
        return self.placement.put(replicas, None)

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

    def _local(self, data: Samples | Shards, samples: jax.Array | None) -> Local:
        if isinstance(data, Samples):
            assert samples is not None
            inputs, targets = data.take(samples)
            weights = None
        else:
            inputs, targets, weights = data.inputs, data.targets, data.weights
        return Local(inputs, targets, weights, self.experiment.model.apply, self.experiment.task.loss)

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
        def draw(seeds: jax.Array, replica: jax.Array, agents: Any) -> Any:
            def of_agents(seed: jax.Array) -> Any:
                return jax.lax.map(lambda agent: self._initial_params(agent, seed), agents)

            return jax.tree.map(lambda leaf: leaf[replica], jax.lax.map(of_agents, seeds))

        distinct, replica = np.unique(np.asarray(seeds, np.uint32), return_inverse=True)
        place = self.placement.put((distinct, replica.astype(np.int32)), None)
        return self._call("draw", draw, (None, None, 0), 1, *place, self._agents)

    def initial_state(self, replicas: Replicas, params: Any) -> Any:
        """The states of all agents and replicas that start from `params`, leaves (replicas, agents, ...)."""

        def start(replicas: Replicas, params: Any, agents: Any) -> Any:
            agents_first = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1).astype(self.dtype), params)
            vectorised = self._vectorised(self._initial_state, (0, 0, None, self._seed_axis), (None, 0, 0, None))
            return vectorised(replicas.algorithm, agents_first, agents, replicas.seeds)

        return self._call("start", start, (None, 1, 0), 0, replicas, self.placement.put(params, 1), self._agents)

    def _state_params(self, replicas: Replicas, state: Any) -> Any:
        """The parameters by which the agents are judged, leaves (agents, replicas, ...)."""
        return jax.vmap(jax.vmap(lambda a, s: a.params(s)), in_axes=(None, 0))(replicas.algorithm, state)

    def _round(self, replicas: Replicas, state: Any, supply: _Supply, step: Any, round: jax.Array) -> Any:
        """One round of the agents here."""
        e, reach = self.experiment, self._reach
        batch = supply.data, None if supply.indices is None else supply.indices[step]
        active = jnp.ones(e.num_agents, bool) if e.schedules.active is None else e.schedules.active(round)
        roles = jnp.asarray(e.roles) if e.schedules.roles is None else e.schedules.roles(round)
        turn = _Turn(round=round, active=reach.rows(active), roles=reach.rows(roles))
        before = state
        for exchange in range(e.algorithm.num_exchanges):
            state = self._exchange_once(replicas, state, batch, supply.agents, turn, active, exchange)
        if e.schedules.active is None or e.algorithm.manages_absence:
            return state
        return jax.tree.map(
            lambda new, old: jnp.where(turn.active.reshape(-1, *[1] * (new.ndim - 1)), new, old), state, before
        )

    def _exchange_once(
        self, replicas: Replicas, state: Any, batch: Any, agents: Any, turn: _Turn, active: jax.Array, exchange: int
    ) -> Any:
        """`emit` for all, delivery, `absorb` for all."""

        def emit(algorithm: Algorithm, state: Any, batch: Any, agent: Any, seed: Any, turn: _Turn) -> Any:
            return algorithm.emit(state, self._local(*batch), self._context(agent, seed, turn, exchange))

        def absorb(
            algorithm: Algorithm, state: Any, batch: Any, agent: Any, seed: Any, turn: _Turn, inbox: Inbox
        ) -> Any:
            return algorithm.absorb(state, inbox, self._local(*batch), self._context(agent, seed, turn, exchange))

        per_replica = (0, 0, (None, None if self.shares_batches else 0), None, self._seed_axis, None)
        per_agent = (None, 0, (self._data_axis, 0), 0, None, _Turn(None, 0, 0))  # pyright: ignore[reportArgumentType]
        surroundings = batch, agents, replicas.seeds, turn
        state, messages = self._vectorised(emit, per_replica, per_agent)(replicas.algorithm, state, *surroundings)
        delivery = self._exchange.deliver(messages, round=turn.round, active=active)
        # Received messages are (agents, slots, replicas, ...); who sent them is the same for all replicas.
        inbox_axes = Inbox(mixed=0, coupled=0, messages=1, senders=None, weights=None, mask=None)  # pyright: ignore
        absorb_all = self._vectorised(absorb, (*per_replica, inbox_axes), (*per_agent, 0))

        def absorbed(group: Group, inboxes: Inbox) -> Any:
            return absorb_all(replicas.algorithm, *self._members(group, state, *surroundings), inboxes)

        groups = self._groups(absorbed, delivery)
        return in_order([group.agents for group in groups], [absorbed(g, delivery.inboxes(g)) for g in groups])

    def _groups(self, absorbed: Callable[[Group, Inbox], Any], delivery: Delivery) -> tuple[Group, ...]:
        """Who absorbs together: agents with about equally many neighbours, if the method reads single messages."""
        groups = self._exchange.groups
        if len(groups) == 1 or self._has_slots:
            return (EVERYBODY,)
        inboxes = delivery.inboxes(EVERYBODY)

        def with_messages(messages: Any) -> Any:
            return absorbed(EVERYBODY, dataclasses.replace(inboxes, messages=messages))

        # Sums are there for everybody: groups would cost copies, and gain nothing.
        return groups if depends(with_messages, inboxes.messages) else (EVERYBODY,)

    def _members(self, group: Group, state: Any, batch: Any, agents: Any, seeds: Any, turn: _Turn) -> tuple[Any, ...]:
        """What a group's agents have, know and see of that which everybody does."""
        data, samples = batch
        own_batch = data if self._data_axis is None else group.rows(data), group.rows(samples)
        lists = {name: group.slots(agents[name]) for name in ("neighbours", "neighbour_mask")}
        own_turn = _Turn(turn.round, group.rows(turn.active), group.rows(turn.roles))
        return group.rows(state), own_batch, {**group.rows(agents), **lists}, seeds, own_turn

    @cached_property
    def _has_slots(self) -> bool:
        """Whether an agent's state has a place for each neighbour, and its shape depends on their number."""
        return state_shapes(self.experiment, 1) != state_shapes(self.experiment, 2)

    def _is_finite(self, replicas: Replicas, state: Any) -> jax.Array:
        """Whether all parameters of each replica are finite, on all devices, shape (replicas,)."""

        def of_leaf(leaf: jax.Array) -> jax.Array:
            return jnp.isfinite(leaf).all(axis=(0, *range(2, leaf.ndim)))

        flags = jax.tree.map(of_leaf, self._state_params(replicas, state))
        return self._reach.everywhere(jnp.stack(jax.tree.leaves(flags)).all(axis=0))

    # ---- programs ----------------------------------------------------------------------------------------------

    def _advance(self, state: Any, replicas: Replicas, supply: _Supply, first_round: Any, num_rounds: Any) -> Any:
        def body(step: jax.Array, state: Any) -> Any:
            return self._round(replicas, state, supply, step, first_round + step)

        state = jax.lax.fori_loop(0, num_rounds, body, state)
        return state, self._is_finite(replicas, state)

    def _first_failures(
        self, state: Any, replicas: Replicas, supply: _Supply, first_round: Any, num_rounds: Any
    ) -> jax.Array:
        def body(step: jax.Array, carry: Any) -> Any:
            state, failed = carry
            state = self._round(replicas, state, supply, step, first_round + step)
            return state, jnp.minimum(failed, jnp.where(self._is_finite(replicas, state), num_rounds, step))

        start = jnp.full((self.num_replicas,), num_rounds, jnp.int32)
        return jax.lax.fori_loop(0, num_rounds, body, (state, start))[1]

    def _measure(
        self, state: Any, replicas: Replicas, evaluation: EvaluationSet, data_shares: Any
    ) -> dict[str, jax.Array]:
        e = self.experiment
        everybody = len(e.learners) == e.num_agents

        def of_replica(params: Any) -> dict[str, jax.Array]:
            population = Population(
                params=params if everybody else jax.tree.map(lambda leaf: leaf[e.learners], params),
                evaluation=evaluation,
                apply=e.model.apply,
                loss_function=e.task.loss,
                data_shares=data_shares,
            )
            return {observable.name: observable.measure(population) for observable in e.observables}

        return jax.vmap(of_replica, in_axes=1)(self._state_params(replicas, state))

    def _call(self, name: str, function: Any, in_axes: Any, out_axes: Any, *arguments: Any) -> Any:
        """`function(*arguments)`, compiled once for each name and shape of arguments, with the time that took.

        The axes say where agents are in arguments and results, for functions of the agents of one device; without
        `in_axes` it is a function of all of them.
        """
        shapes = [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(arguments)]
        signature = f"{name} {shapes}"
        start = time.perf_counter()
        with self._compiling:  # blocks of a sweep share an ensemble, and may run on threads
            if signature not in self._programs:
                place = self.placement
                program = (
                    place.for_everybody(function)
                    if in_axes is None
                    else place.for_own_agents(function, in_axes, out_axes)
                )
                made = compiled(program.lower(*arguments), large_activations=self._activations.are_large)
                self._check_memory(made)
                self._programs[signature] = made  # one that does not fit is refused every time
        self._compiled.seconds = self.compile_seconds + time.perf_counter() - start
        return self._programs[signature](*arguments)

    @property
    def compile_seconds(self) -> float:
        """Time that the calling thread has spent compiling, or waiting for another one to compile the same."""
        return getattr(self._compiled, "seconds", 0.0)

    def _check_memory(self, program: Any) -> None:
        """Refuse a program whose results and temporary arrays do not fit beside what is there."""
        sizes = program.memory_analysis()
        if sizes is not None:
            needed = sizes.output_size_in_bytes + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
            self._refuse_beyond_memory(needed)

    def _refuse_beyond_memory(self, needed: int) -> None:
        check_memory(
            needed,
            free_bytes(self.placement),
            experiment=self.experiment,
            num_replicas=self.num_replicas,
            num_devices=self.placement.num_parts,
        )

    def _loop(
        self,
        name: str,
        function: Any,
        out_axes: Any,
        state: Any,
        replicas: Replicas,
        seeds: Sequence[int],
        rounds: range,
        capacity: int,
    ) -> Any:
        """A program that runs some rounds, with the mini-batches that it needs."""
        e = self.experiment
        indices = None
        if e.batch_size is not None:
            indices = batch_indices(
                e.shards,
                seeds=seeds,
                first_round=rounds.start,
                num_rounds=len(rounds),
                num_local_steps=e.algorithm.num_local_steps,
                batch_size=e.batch_size,
                agents=self.placement.agents_here(e.num_agents),
            )
            padding = np.zeros((capacity - len(rounds), *indices.shape[1:]), indices.dtype)
            indices = self.placement.put_own(np.concatenate([indices, padding]), 1, e.num_agents)
        supply = _Supply(self._agents, self._data, indices)
        in_axes = (0, None, _Supply(0, self._data_axis, 1), None, None)  # pyright: ignore[reportArgumentType]
        counts = self.placement.put((np.int32(rounds.start), np.int32(len(rounds))), None)
        edition = f"{name} of edition {self._edition}"
        return self._call(edition, function, in_axes, out_axes, state, replicas, supply, *counts)

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
        rounds = range(first_round, first_round + num_rounds)
        state, finite = self._loop("advance", self._advance, (0, None), state, replicas, seeds, rounds, capacity)
        return state, self.placement.get(finite)

    def first_failures(
        self, state: Any, replicas: Replicas, seeds: Sequence[int], first_round: int, num_rounds: int
    ) -> np.ndarray:
        """For each replica the first of these rounds after which a parameter is not finite, or the round after them.

        Replays the rounds with a check after each; needed only when `advance` reports a failure.
        """
        rounds = range(first_round, first_round + num_rounds)
        failed = self._loop("first_failures", self._first_failures, None, state, replicas, seeds, rounds, num_rounds)
        return first_round + self.placement.get(failed)

    def measure(self, state: Any, replicas: Replicas) -> dict[str, np.ndarray]:
        """All observables, each of shape (replicas, ...)."""
        everything = state, replicas, self._evaluation, self._data_shares
        return self.placement.get(self._call("measure", self._measure, None, None, *everything))

    def final_params(self, state: Any, replicas: Replicas) -> Any:
        """The parameters of the learners, leaves (replicas, learners, ...), as NumPy arrays."""
        params = self.placement.get(self._call("params", self._state_params, None, None, replicas, state))
        return jax.tree.map(lambda leaf: leaf.swapaxes(0, 1)[:, self.experiment.learners], params)


def _same_links(one: Experiment, other: Experiment) -> bool:
    """Whether the same agents take part and exchange with the same weights."""
    matrices = (one.graph.adjacency, other.graph.adjacency), (one.mixing.weights, other.mixing.weights)
    return one.schedules.active == other.schedules.active and all(np.array_equal(*pair) for pair in matrices)
