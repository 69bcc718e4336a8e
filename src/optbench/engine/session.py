"""Model, data, optimizers and schedule of one trial, built the same way for every optimizer: same seed, same weights, same data."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from optbench.catalog.data_sets import load_data
from optbench.catalog.metric_contract import Metric
from optbench.catalog.types import Split, Splits
from optbench.engine import optimizers, precision, schedule
from optbench.engine.activations import checkpoint_activations
from optbench.engine.averaging import MovingAverage
from optbench.engine.batch import Batch
from optbench.engine.batches import BatchSettings, EvaluationBatches, TrainingBatches
from optbench.engine.costs import StepCosts, step_costs
from optbench.engine.initialise import initialise
from optbench.engine.layout import Layout, memory_format, to_layout
from optbench.engine.models import build_model
from optbench.engine.randomness import derive
from optbench.engine.ranks import ALONE, Ranks
from optbench.engine.relabel import Relabelling
from optbench.engine.sharding import divide_parameters, local_part, local_parts, rejoin_state, shard_model
from optbench.engine.streamed_batches import StreamedEvaluationBatches, StreamedTrainingBatches
from optbench.engine.sync_batch_norm import synchronised_norms
from optbench.engine.tasks import CatalogTask, Task, build_task
from optbench.suite.types import Schedule, Trial

SplitName = Literal["train", "validation", "test"]


@dataclass
class Session:
    """All parts of one trial, on its device."""

    trial: Trial
    device: torch.device
    splits: Splits
    training_batches: TrainingBatches | StreamedTrainingBatches
    model: nn.Module
    forward: Callable[..., Any]  # the model, compiled if the suite requests it
    task: Task
    metrics: dict[str, Metric]
    optimizers: optimizers.Optimizers
    average: MovingAverage | None
    precision: precision.Precision
    scaler: torch.amp.GradScaler | None
    rates: schedule.Rates
    steps: int | None  # the budget; None when it is in seconds
    initial_weights: str
    memory_format: Layout = "contiguous"  # in use
    relabel: Relabelling | None = None
    ranks: Ranks = ALONE
    #: the model with gradients averaged over the ranks; None with one rank or if it is split
    parallel: Any = None
    #: with `sharding: zero1`, the rank that updates each parameter
    owner: dict[Tensor, int] = field(default_factory=dict)
    costs: StepCosts = field(default_factory=StepCosts)
    gradient_evaluations: int = 0  # forward and backward passes so far

    _batches: dict[SplitName, EvaluationBatches | StreamedEvaluationBatches] = field(default_factory=dict)

    def batches(self, split: SplitName) -> EvaluationBatches | StreamedEvaluationBatches:
        """Return the split's samples in their order, unaugmented."""
        if split not in self._batches:
            part: Split = getattr(self.splits, split)
            size = max(256, min(self.training_batches.batch_size, 1024))
            self._batches[split] = (
                StreamedEvaluationBatches(
                    part.stream, self.splits.info, size, self.device, self.memory_format
                )
                if part.stream is not None
                else EvaluationBatches(
                    part,
                    self.splits.mean,
                    self.splits.std,
                    batch_size=size,
                    device=self.device,
                    memory_format=self.memory_format,
                )
            )
        return self._batches[split]

    def mean_loss(self, batch: Batch) -> Tensor:
        """Return the loss of a training batch. Raises `OptbenchError` for outputs of another form than the task's."""
        return self.task.loss(self.parallel or self.forward, batch)

    def units(self, batch: Batch) -> int | Tensor:
        """Return the weight of the whole batch, of which `batch` is the share of this rank."""
        units = self.task.units(batch)
        if self.ranks.size == 1:
            return units
        if isinstance(units, int) and isinstance(self.task, CatalogTask):  # one per sample
            return self.training_batches.batch_size
        return self.ranks.sum(torch.as_tensor(units, device=self.device))

    @property
    def is_split(self) -> bool:
        """Whether each rank has a part of each parameter only."""
        return self.ranks.size > 1 and self.trial.workload.sharding == "full"

    def weights(self) -> dict[str, Tensor]:
        """Return parameters and buffers by name, of split ones the part of this rank."""
        state: dict[str, Tensor] = self.model.state_dict()
        return local_parts(state) if self.is_split else state

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load what `weights` returned on this rank."""
        if not self.is_split:
            self.model.load_state_dict(weights)
            return
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                local_part(tensor).copy_(weights[name])

    def optimizer_state(self) -> list[dict[str, Any]]:
        """Return the optimizers' states, of split tensors the part of this rank."""
        states = self.optimizers.state()
        return local_parts(states) if self.is_split else states

    def load_optimizer_state(self, states: Sequence[dict[str, Any]]) -> None:
        """Load what `optimizer_state` returned on this rank."""
        self.optimizers.load_state(states)
        if self.is_split:
            rejoin_state(self.optimizers.members)

    def averaging(self, is_last: bool) -> AbstractContextManager[Any]:
        """Return a block for the passes of a micro-batch: only those of the last one average the gradients over the ranks."""
        if self.is_split:
            self.model.set_requires_gradient_sync(is_last)  # type: ignore[operator]  # added by fully_shard
        if self.parallel is None or is_last:
            return nullcontext()
        block: AbstractContextManager[Any] = self.parallel.no_sync()
        return block

    def current(self, batch: Batch) -> Batch:
        """Return the batch with the labels of the current training step's objective."""
        if self.relabel is None:
            return batch
        assert isinstance(batch.targets, Tensor)
        return batch._replace(targets=self.relabel(batch.targets))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters, in the model's order."""
        return [p for p in self.model.parameters() if p.requires_grad]


def prepare(trial: Trial, device: torch.device, data_root: Path, ranks: Ranks = ALONE) -> Session:
    """Build model, data, optimizers and schedule of a trial. Raises `OptbenchError` for what the suite's author can fix."""
    workload = trial.workload
    splits = load_data(workload.data, data_root, trial.folder)
    task = build_task(workload, splits.info, trial.folder)
    model = initial_model(trial, splits)
    fingerprint = weights_hash(model)
    costs = _costs(trial, model, splits, task, device) if "costs" in workload.study else StepCosts()
    seed_everything(derive(trial.seed, "training"))
    layout = memory_format(workload, model, device)
    model = to_layout(model.to(device), layout)
    if workload.activation_checkpointing:
        checkpoint_activations(model)
    if workload.sync_batch_norm:
        model = synchronised_norms(model, device)
    if ranks.size > 1 and workload.sharding == "full":
        shard_model(model, device, ranks)
    training_batches = _training_batches(trial, splits, device, layout, ranks)
    steps = (
        None if workload.budget.unit == "seconds" else workload.budget.steps(training_batches.steps_per_epoch)
    )
    horizon = (
        steps if trial.entry.horizon is None else trial.entry.horizon.steps(training_batches.steps_per_epoch)
    )
    built = optimizers.build(trial, model, steps, training_batches.batch_size, samples=splits.info.train)
    resolved_precision = precision.resolve(trial.precision, device, built.protocol.is_unscalable)
    return Session(
        trial=trial,
        device=device,
        splits=splits,
        training_batches=training_batches,
        model=model,
        forward=torch.compile(model) if workload.compile else model,
        task=task,
        metrics=task.metrics(workload, trial.folder),
        optimizers=built,
        average=MovingAverage(model, trial.entry.ema.decay) if trial.entry.ema else None,
        precision=resolved_precision,
        scaler=precision.gradient_scaler(resolved_precision, device),
        rates=schedule.rates(
            trial.entry.schedule or Schedule(name="constant"),
            horizon,
            training_batches.steps_per_epoch,
            trial.folder,
            built,
        ),
        steps=steps,
        initial_weights=fingerprint,
        memory_format=layout,
        relabel=_relabelling(trial, splits, training_batches, device),
        ranks=ranks,
        owner=divide_parameters(built, ranks) if ranks.size > 1 and workload.sharding == "zero1" else {},
        costs=costs,
    )


def _training_batches(
    trial: Trial, splits: Splits, device: torch.device, layout: Layout, ranks: Ranks
) -> TrainingBatches | StreamedTrainingBatches:
    batch_size, order = trial.samples_per_step(splits.info.train), trial.workload.data_order
    seed = derive(trial.seed, "data order", order) if order else trial.seed
    rows = ranks.rows(batch_size, trial.workload.accumulate, device)
    settings = BatchSettings(batch_size, seed, device, trial.workload.augment, layout, rows)
    if splits.train.stream is not None:
        return StreamedTrainingBatches(splits.train.stream, splits.info, settings)
    shape = splits.info.shape
    size = (shape[1], shape[2]) if len(shape) == 3 else None
    return TrainingBatches(splits.train, splits.mean, splits.std, settings, size=size)


def initial_model(trial: Trial, splits: Splits) -> nn.Module:
    """Build the trial's model on the CPU with its initial weights. Seeds the global generators."""
    seed_everything(derive(trial.seed, "initial weights"))
    has_own_task = trial.workload.task is not None and ":" in trial.workload.task
    model = build_model(trial.workload.model, splits.info, trial.folder, check=not has_own_task)
    initialise(model, trial.workload.init, trial.folder)
    return model


def rebuilt(session: Session, device: torch.device) -> tuple[nn.Module, optimizers.Optimizers]:
    """Build model and optimizers of a running trial again, as they were before its first step. Seeds the global generators."""
    trial = session.trial
    model = initial_model(trial, session.splits)
    seed_everything(derive(trial.seed, "training"))
    model = to_layout(model.to(device), session.memory_format)
    built = optimizers.build(
        trial,
        model,
        session.steps,
        session.training_batches.batch_size,
        session.optimizers.protocol,
        session.splits.info.train,
    )
    return model, built


def _relabelling(
    trial: Trial,
    splits: Splits,
    training_batches: TrainingBatches | StreamedTrainingBatches,
    device: torch.device,
) -> Relabelling | None:
    if trial.workload.relabel is None:
        return None
    every_steps = trial.workload.relabel.every.steps(training_batches.steps_per_epoch)
    return Relabelling(splits.info.classes, every_steps, trial.seed, device)


def _costs(trial: Trial, model: nn.Module, splits: Splits, task: Task, device: torch.device) -> StepCosts:
    return step_costs(
        model,
        trial.workload,
        task,
        trial.samples_per_step(splits.info.train),
        precision=precision.resolve(trial.precision, device),
        device=device,
    )


def seed_everything(seed: int) -> None:
    """Seed the global generators, used by models, dropout and plug-in optimizers. Data use separate generators."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def weights_hash(model: nn.Module) -> str:
    """Return a hash (16 hexadecimal digits) of the bits of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
