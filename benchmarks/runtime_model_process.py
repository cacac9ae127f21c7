"""An agent as a process of its own, with links over TCP on loopback that are as slow as they are told to be.

A machine sends its messages one after the other. Bytes pass as fast as `bandwidth` lets them, and a message is handed
on `latency` after its last byte left, by the clock that all processes share. A thread sends and a thread per link
receives, so that the agent can compute in the meantime.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK = 8192
"""Bytes that are written at once, between two looks at the clock."""
_PATIENCE = 60.0
"""Seconds until a message that does not come is given up."""


@dataclass(frozen=True)
class Link:
    """What links are told to be: seconds before a message arrives, and bytes per second that a machine sends."""

    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Work:
    """Computing: it lasts as long as a draw from a gamma distribution says.

    Attributes:
        kind: "sleep" waits, so that more agents than processors compute at the same time; "numpy" multiplies matrices.
        mean: seconds per gradient; for "numpy" as long as nothing else runs.
        deviation: standard deviation over the mean.
    """

    kind: str
    mean: float
    deviation: float

    def draws(self, num: int, seed: list[int]) -> np.ndarray:
        """Seconds, shape (num,)."""
        shape = self.deviation**-2
        return np.random.default_rng(seed).gamma(shape, self.mean / shape, num)

    def worker(self) -> Callable[[float], None]:
        """What computes for about so many seconds."""
        if self.kind == "sleep":
            return time.sleep
        matrix = np.random.default_rng(0).normal(size=(96, 96))
        product = np.empty_like(matrix)

        def multiply(times: int) -> None:
            for _ in range(times):
                np.dot(matrix, matrix, out=product)

        once = []
        for _ in range(20):
            start = time.perf_counter()
            multiply(100)
            once.append((time.perf_counter() - start) / 100)
        return lambda seconds: multiply(round(seconds / min(once)))


@dataclass(frozen=True)
class Case:
    """One run of all agents.

    Attributes:
        schedule: "all-reduce", "overlapped" (parameters travel during the gradient) or "adapt-then-combine".
        num_bytes: of the message; a multiple of four times the number of agents.
        accumulation: gradients that are taken between two exchanges.
        num_iterations: exchanges.
        seed: of the computing times.
    """

    schedule: str
    num_bytes: int
    accumulation: int
    num_iterations: int
    seed: int


class Machine:
    """The links of one agent."""

    def __init__(self, agent: int, num_agents: int, link: Link, exchange_addresses: Callable[[Any], Any]) -> None:
        self.agent, self.num_agents, self._link = agent, num_agents, link
        with socket.create_server(("127.0.0.1", 0), backlog=num_agents) as server:
            addresses = exchange_addresses(server.getsockname())
            self._to = {}
            for other in range(num_agents):
                if other != agent:
                    self._to[other] = socket.create_connection(addresses[other])
                    self._to[other].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._to[other].sendall(struct.pack("i", agent))
            links = [server.accept()[0] for _ in range(num_agents - 1)]
        self._from: dict[int, queue.Queue[np.ndarray]] = {}
        for one in links:
            (sender,) = struct.unpack("i", _read(one, 4))
            self._from[sender] = queue.Queue()
            threading.Thread(target=self._receive_all, args=(one, self._from[sender]), daemon=True).start()
        self._leaving: queue.Queue[tuple[int, np.ndarray]] = queue.Queue()
        threading.Thread(target=self._send_all, daemon=True).start()

    def send(self, receiver: int, message: np.ndarray) -> None:
        """Give a message to the link, and do not wait until it has left."""
        self._leaving.put((receiver, message.copy()))

    def receive(self, sender: int) -> np.ndarray:
        """Wait for the next message of `sender`."""
        return self._from[sender].get(timeout=_PATIENCE)

    def _send_all(self) -> None:
        while True:
            receiver, message = self._leaving.get()
            out, data = self._to[receiver], message.data.cast("B")
            begin = time.monotonic()
            out.sendall(struct.pack("q", len(data)))
            for sent in range(0, len(data), CHUNK):
                out.sendall(data[sent : sent + CHUNK])
                # A chunk has passed when its last byte has; what the clock oversleeps is not added up.
                _wait_until(begin + min(sent + CHUNK, len(data)) / self._link.bandwidth)
            out.sendall(struct.pack("d", time.monotonic()))

    def _receive_all(self, link: socket.socket, arrived: queue.Queue[np.ndarray]) -> None:
        while True:
            try:
                (size,) = struct.unpack("q", _read(link, 8))
            except ConnectionError:  # the sender has ended
                return
            message = np.frombuffer(_read(link, size), np.float32)
            (left,) = struct.unpack("d", _read(link, 8))
            _wait_until(left + self._link.latency)
            arrived.put(message)


def _read(link: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        received = link.recv_into(view)
        if not received:
            raise ConnectionError("the link was closed")
        view = view[received:]
    return data


def _wait_until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)


def ring_all_reduce(machine: Machine, values: np.ndarray) -> np.ndarray:
    """The sum over agents: pieces are added up along the ring in N − 1 steps, and handed round in N − 1 more."""
    agent, n = machine.agent, machine.num_agents
    pieces = np.split(values.copy(), n)
    for step in range(2 * (n - 1)):
        machine.send((agent + 1) % n, pieces[(agent - step) % n])
        piece = machine.receive((agent - 1) % n)
        own = (agent - step - 1) % n
        pieces[own] = pieces[own] + piece if step < n - 1 else piece
    return np.concatenate(pieces)


def round_trips(machine: Machine, sizes: list[int], repeats: int) -> list[tuple[int, float]]:
    """Bytes and seconds of one way, as half of there and back between agents 2k and 2k + 1."""
    other, times = machine.agent ^ 1, []
    for size in sizes * repeats:
        message = np.zeros(size // 4, np.float32)
        start = time.monotonic()
        if machine.agent % 2 == 0:
            machine.send(other, message)
            machine.receive(other)
        else:
            machine.send(other, machine.receive(other))
        times.append((size, (time.monotonic() - start) / 2))
    return times


def run_case(machine: Machine, case: Case, work: Callable[[float], None], draws: np.ndarray) -> dict[str, Any]:
    """When iterations began, and how long the agent computed in each.

    Values are averaged as they travel; the agents must agree on their mean at the end.
    """
    agent, n = machine.agent, machine.num_agents
    values = np.arange(case.num_bytes // 4, dtype=np.float32) % 7 + agent
    starts, computed = [time.monotonic()], []
    for t, seconds in enumerate(draws.reshape(case.num_iterations, case.accumulation)):
        distance = 2 ** (t % max(1, (n - 1).bit_length()))
        if case.schedule == "overlapped":
            machine.send((agent - distance) % n, values)
        begin = time.monotonic()
        for one in seconds:
            work(one)
        computed.append(time.monotonic() - begin)
        if case.schedule == "all-reduce":
            values = ring_all_reduce(machine, values) / n
        else:
            if case.schedule == "adapt-then-combine":
                machine.send((agent - distance) % n, values)
            values = (values + machine.receive((agent + distance) % n)) / 2
        starts.append(time.monotonic())
    mean = np.arange(case.num_bytes // 4) % 7 + (n - 1) / 2
    return {"starts": starts, "computed": computed, "error": float(np.abs(values - mean).max())}


def serve(agent: int, num_agents: int, link: Link, work: Work, pipe: Any, barrier: Any) -> None:
    """An agent's process: do what comes through the pipe, all agents at once, until there is nothing more."""

    def exchange(address: Any) -> Any:
        pipe.send(address)
        return pipe.recv()

    machine, compute = Machine(agent, num_agents, link, exchange), work.worker()
    while (order := pipe.recv()) is not None:
        barrier.wait(_PATIENCE)
        if isinstance(order, Case):
            draws = work.draws(order.num_iterations * order.accumulation, [order.seed, agent])
            pipe.send(run_case(machine, order, compute, draws))
        elif order[0] == "links":
            pipe.send(round_trips(machine, *order[1:]))
        else:
            _, num, seed = order
            durations = []
            for seconds in work.draws(num, [seed, agent]):
                begin = time.monotonic()
                compute(seconds)
                durations.append(time.monotonic() - begin)
            pipe.send(durations)
