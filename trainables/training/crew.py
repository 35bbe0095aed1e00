"""A trial's other processes, where it trains on several GPUs of its machine."""

import io
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from trainables.config import ComputeConfig, DataConfig, TrialConfig
from trainables.datasets.images import Progress
from trainables.datasets.loading import load_data
from trainables.randomness import generator, stream
from trainables.training.compute import prepare_process, resolve_device, share_compiled
from trainables.training.finetune import Training
from trainables.training.member import Member


class Crew:
    """Processes that follow this one, which is `member`, rank 0: one per GPU, on a CPU any number.

    They hold nothing that is not sent: a trial is stopped, saved and scored by this one alone.
    Raises ValueError for more processes than GPUs.
    """

    def __init__(self, data: DataConfig, compute: ComputeConfig, cache: Path) -> None:
        device = resolve_device(compute)
        if device.type == "cuda" and compute.processes > torch.cuda.device_count():
            raise ValueError(
                f"compute.processes must be at most the {torch.cuda.device_count()} GPUs that "
                f"are there, got {compute.processes}"
            )
        self.member = Member(0, compute.processes)
        self._folder = Path(tempfile.mkdtemp(prefix="secateur-crew-"))
        self._training: Training | None = None  # what the others have
        self._pipes: list[Connection] = []
        self._processes = []
        context = multiprocessing.get_context("spawn")
        meeting = str(self._folder / "meeting")
        for rank in range(1, compute.processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, Member(rank, compute.processes), meeting, data, compute, cache)
            process = context.Process(target=_follow, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self.member.join(meeting, device)

    def start_epoch(self, training: Training, order: Generator) -> None:
        """Have the others do the next epoch of `training`, whose own follows at once."""
        told: dict[str, Any] = {
            "order": order.get_state(),
            "seed": torch.initial_seed(),  # of the dropout
        }
        if training is not self._training:
            told["training"] = _packed(training)
            self._training = training
        for pipe in self._pipes:
            pipe.send(told)

    def close(self) -> None:
        """Send the others home."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            process.kill()
        self.member.leave()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def crew_of(config: TrialConfig, cache: Path) -> Iterator[Crew | None]:
    """The crew of `config` for as long as the context lasts; None where one process trains."""
    crew = None
    if config.compute.processes > 1:
        crew = Crew(config.data, config.compute, cache)
    try:
        yield crew
    finally:
        if crew is not None:
            crew.close()


def epoch_by_all(
    training: Training,
    seed: int,
    number: int,
    crew: Crew | None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """The epoch of that number, with the crew where there is one; see `Training.epoch`.

    A stream of random numbers an epoch: what was interrupted goes on as if nothing had happened.
    """
    torch.manual_seed(stream(seed, "dropout", number))
    order = generator(seed, "order", number)
    if crew is not None:
        crew.start_epoch(training, order)
    return training.epoch(order, progress)


def _packed(training: Training) -> bytes:
    """A training for another process; its masks go on pointing at its parameters."""
    buffer = io.BytesIO()
    arguments = {
        "network": training.network,
        "recipe": training.recipe,
        "precision": training.precision,
        "held": training.held,
        "compile": training.compile,
        "teacher": training.teacher,
    }
    torch.save((arguments, training.state_dict()), buffer)
    return buffer.getvalue()


def _follow(
    pipe: Connection,
    member: Member,
    meeting: str,
    data: DataConfig,
    compute: ComputeConfig,
    cache: Path,
) -> None:
    """What the others do: epochs, as they are told, until nobody tells them any more."""
    prepare_process(compute)
    share_compiled(cache)
    device = resolve_device(compute)
    if device.type == "cuda":
        device = torch.device("cuda", member.rank)
        torch.cuda.set_device(device)
    images = load_data(data, cache).train
    member.join(meeting, device)
    training: Training | None = None
    while True:
        try:
            told = pipe.recv()
        except EOFError:  # the first has closed its end, or is gone
            return
        if "training" in told:
            training = None
            # Of our own making, a moment ago: modules, which weights_only would refuse.
            packed = io.BytesIO(told["training"])
            arguments, state = torch.load(packed, map_location=device, weights_only=False)
            training = Training(images=images, member=member, **arguments)
            training.load_state_dict(state)
        if training is None:
            raise RuntimeError("an epoch was asked for before there was anything to train")
        torch.manual_seed(told["seed"] + member.rank)
        order = torch.Generator()
        order.set_state(told["order"])
        training.epoch(order)
