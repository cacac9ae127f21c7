"""Who is compared, where each is installed, and how its rounds differ from a gradient step followed by an average."""

from __future__ import annotations

from dataclasses import dataclass

from reference import BOTH_AT_ONCE, STEP_THEN_AVERAGE

NUM_COUPLINGS = 16
LOOP = "loop"
THREADS = (1, 2)


@dataclass(frozen=True)
class Contestant:
    """A row of the table.

    Attributes:
        name: for `--only`.
        title: for the table.
        adapter: the script that runs it.
        environment: name of its requirements file, or None: the interpreter of the driver.
        semantics: what its round is, and what it does besides.
        order: STEP_THEN_AVERAGE or BOTH_AT_ONCE.
        pulls: for each replica, the part of the way to the mean that agents go in a round.
        arguments: further ones of the adapter.
        threads: numbers of PyTorch's threads that are tried, of which the fastest is kept; none: as it is by itself.
    """

    name: str
    title: str
    adapter: str
    environment: str | None
    semantics: str
    order: str = STEP_THEN_AVERAGE
    pulls: tuple[float, ...] = (1.0,)
    arguments: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()


CONTESTANTS = (
    Contestant(
        LOOP,
        "PyTorch loop, by hand",
        "loop_peer.py",
        "torch",
        "Step, then average: one module after the other.",
        threads=THREADS,
    ),
    Contestant(
        "vmap",
        "PyTorch, torch.func.vmap",
        "vmap_peer.py",
        "torch",
        "Step, then average. All agents' gradients in one vectorised call.",
        threads=THREADS,
    ),
    Contestant(
        "fluke",
        "fluke",
        "fluke_peer.py",
        "fluke",
        "Step, then average: FedAVG with all clients in every round and one mini-batch per epoch, which an iterable in "
        "the place of its data loader gives. Clients hold copies of the server's model; each model is deep-copied on "
        "its way in both directions. The progress bar cannot be switched off; evaluation is off.",
        threads=THREADS,
    ),
    Contestant(
        "fedjax",
        "fedjax",
        "fedjax_peer.py",
        "fedjax",
        "Step, then average: federated_averaging with server learning rate 1, all clients in every round, each with a "
        "data set that is its mini-batch. There is one model, the server's; the mean is taken over differences from "
        "it. Also computes the norm of every client's update, which cannot be switched off. Nothing is evaluated.",
    ),
    Contestant(
        "decent-dp",
        "decent-dp",
        "decent_dp_peer.py",
        "decent_dp",
        "Average and step at once: the averages travel during the backward pass, so that the gradient is taken at the "
        "parameters before averaging. One process and one thread per agent. Its start copies agent 0 to all agents; "
        "different initial parameters are set after that. Nothing is evaluated.",
        order=BOTH_AT_ONCE,
    ),
    Contestant(
        "consilience",
        "consilience, one replica",
        "consilience_peer.py",
        None,
        "Step, then average. Draws its mini-batches within the measured time.",
        arguments=("1",),
    ),
    Contestant(
        f"consilience-{NUM_COUPLINGS}",
        f"consilience, {NUM_COUPLINGS} couplings side by side",
        "consilience_peer.py",
        None,
        f"Average and step at once, Eq. (2), at {NUM_COUPLINGS} couplings from 1/{NUM_COUPLINGS} of full averaging to "
        "full averaging, on the same mini-batches, as a sweep runs them; an agent-step is counted for each. Draws its "
        "mini-batches within the measured time. Checked at learning rate 1e-9 instead of 0, which would switch the "
        "coupling off too.",
        order=BOTH_AT_ONCE,
        pulls=tuple((k + 1) / NUM_COUPLINGS for k in range(NUM_COUPLINGS)),
        arguments=(str(NUM_COUPLINGS),),
    ),
)
