"""What a worker does with torch: set up the device, and train a unit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import torch

from optbench.engine import environment as engine_environment
from optbench.engine.allocator import keep_freed_memory
from optbench.engine.checkpoint import NoSpace as NoSpace
from optbench.engine.devices import select_device as select_device
from optbench.engine.devices import select_devices as select_devices
from optbench.engine.environment import environment as environment
from optbench.engine.loop import CHECKPOINT_SECONDS, train
from optbench.engine.memory import is_out_of_memory as is_out_of_memory
from optbench.engine.ranks import Ranks as Ranks
from optbench.engine.stacked.loop import train_stack
from optbench.executor.api import Events, Place, Settings, Slot, Unit


def set_up(settings: Settings, slot: Slot, folder: str) -> torch.device:
    """Apply the settings and return the device. Raises `OptbenchError` if the device is not available.

    The suite's folder is appended to the import path, so that a plug-in can import files beside it.
    """
    sys.path.append(folder)
    engine_environment.command = settings.command
    if slot.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, slot.cores)
    threads = settings.threads if slot.threads is None else slot.threads
    if threads is not None:
        torch.set_num_threads(threads)
    device = select_device(slot.device)
    if settings.allocator == "tuned":
        keep_freed_memory(device.type)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def checkpoint_seconds(settings: Settings) -> float:
    """Return the time between checkpoints."""
    return CHECKPOINT_SECONDS if settings.checkpoint_seconds is None else settings.checkpoint_seconds


def train_unit(
    unit: Unit, device: torch.device, place: Place, should_stop: Callable[[], bool]
) -> Iterator[Events]:
    """Train the unit in this process. Each item must be stored before the next is requested. Raises as the engine does."""
    trials = tuple(trial.model_copy(update={"folder": place.suite_folder}) for trial in unit.trials)
    if unit.is_stack:
        stacked = train_stack(
            trials,
            device,
            data_root=place.data_root,
            checkpoint=place.checkpoint,
            should_stop=should_stop,
            checkpoint_seconds=checkpoint_seconds(unit.settings),
        )
        yield from map(tuple, stacked)
        return
    [trial] = trials
    for event in train(
        trial,
        device,
        data_root=place.data_root,
        checkpoint=place.checkpoint,
        should_stop=should_stop,
        checkpoint_seconds=checkpoint_seconds(unit.settings),
    ):
        yield ((trial.id, event),)
