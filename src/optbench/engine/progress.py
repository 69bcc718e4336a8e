"""Progress of a trial: counts, clocks and statistics that a checkpoint stores with model and optimizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from optbench.engine import checkpoint as checkpoints
from optbench.engine.clock import Clock, Stopwatch
from optbench.engine.gradient_monitor import GradientMonitor
from optbench.engine.resumability import load_attributes, save_attributes
from optbench.engine.session import Session
from optbench.engine.state_memory import NOT_MEASURED, StateMemory, state_memory
from optbench.engine.step_statistics import StepStatistics
from optbench.suite.types import Trial

_SHARDED = ("model", "optimizers", "average", "best")  # what differs between ranks if it is sharded


@dataclass(frozen=True)
class Best:
    """The evaluation with the best validation metric so far, with its weights on the host."""

    step: int
    value: float  # higher is better, whatever the metric
    weights: dict[str, Tensor]


@dataclass
class Progress:
    """Counts and clocks since step 0 of one trial, across interruptions."""

    clock: Clock
    statistics: StepStatistics
    step: int = 0  # completed steps
    evaluations: int = 0
    clipped: int = 0
    skipped: int = 0
    tries_to_move: int = 0  # steps that should have changed the parameters, until one did
    moved: bool = False
    unmoved: list[Tensor] | None = None  # copies of the initial parameters, until one has changed
    best: Best | None = None
    evaluating: Stopwatch = field(default_factory=Stopwatch)
    peak_memory: int | None = None
    state_memory: StateMemory = NOT_MEASURED  # the maximum so far
    rises: int = 0  # steps whose training loss was greater than that of the step before
    data_wait: float = 0.0  # seconds that earlier processes waited for data
    gradients: GradientMonitor = field(default_factory=GradientMonitor)
    parameters: dict[str, float] = field(default_factory=dict)  # norms at the last step before an evaluation

    @classmethod
    def of(cls, trial: Trial, device: torch.device) -> Progress:
        """Return the progress of a trial at step 0."""
        return cls(Clock(device), StepStatistics(trial.workload.loss_bound))

    def update_peak_memory(self, device: torch.device) -> None:
        """Record the allocator's peak so far; only CUDA reports one."""
        if device.type == "cuda":
            self.peak_memory = max(torch.cuda.max_memory_allocated(device), self.peak_memory or 0)

    def update_state_memory(self, session: Session) -> None:
        """Measure the optimizer's state and keep the maximum."""
        measured = state_memory(session.optimizers.members, session.parameters, session.model)
        self.state_memory = measured.maximum(self.state_memory)

    def update_best(self, session: Session, metrics: dict[str, float]) -> None:
        """Keep the evaluated weights if they are the best so far by the workload's first metric."""
        name = session.trial.workload.metrics[0]
        value = metrics[name] if session.metrics[name].facts.higher_is_better else -metrics[name]
        if math.isfinite(value) and (self.best is None or value > self.best.value):
            weights = {k: v.detach().cpu().clone() for k, v in session.weights().items()}
            self.best = Best(self.step, value, weights)

    def state(self, session: Session, *, whole: bool = False) -> dict[str, Any]:
        """Return the state from which training resumes; `whole`: with all attributes of the optimizers instead of `state_dict()`.

        Call it on all ranks. It contains the random numbers of each rank, and what is sharded.
        """
        self.statistics.combine(session.ranks)
        generators = checkpoints.random_state(session.device)
        state = {
            "trial_id": session.trial.id,
            "counts": [
                self.step,
                self.evaluations,
                self.clipped,
                self.skipped,
                self.tries_to_move,
                int(self.moved),
            ],
            "model": session.weights(),
            "optimizers": None if whole else session.optimizer_state(),
            "whole_optimizers": save_attributes(session.optimizers.members, session.model) if whole else None,
            "scaler": session.scaler.state_dict() if session.scaler else None,
            "observed": list(session.rates.observed),
            "average": session.average.state() if session.average else None,
            "tally": self.statistics.state(),
            "rises": self.rises,
            "gradients": self.gradients.state(),
            "parameters": dict(self.parameters),
            "gradient_evaluations": session.gradient_evaluations,
            "data_wait": self.data_wait + session.training_batches.data_wait_seconds,
            "clock": self.clock.state(),
            "evaluation_seconds": self.evaluating.seconds,
            "peak_memory": self.peak_memory,
            "state_memory": [self.state_memory.bytes, self.state_memory.note],
            "best": [self.best.step, self.best.value, self.best.weights] if self.best else None,
            "random": generators,
        }
        if session.ranks.size > 1:
            state_of_rank = [generators, session.ranks.state()]
            if session.trial.workload.sharding != "none":
                state_of_rank.append({key: state[key] for key in _SHARDED})
            state["ranks"] = session.ranks.gather(state_of_rank)
        return state

    def restore(self, session: Session, state: dict[str, Any]) -> None:
        """Load what `state` returned into a newly prepared session of the same trial."""
        self.step, self.evaluations, self.clipped, self.skipped, self.tries_to_move, moved = state["counts"]
        self.moved = bool(moved)
        generators = state["random"]
        if session.ranks.size > 1:
            generators, others, *sharded = state["ranks"][session.ranks.rank]
            session.ranks.load_state(others)
            state = {**state, **(sharded[0] if sharded else {})}
        session.load_weights(state["model"])
        if session.relabel is not None:
            session.relabel.move_to(self.step - 1)
        if state["optimizers"] is None:
            load_attributes(state["whole_optimizers"], session.optimizers.members, session.model)
        else:
            session.load_optimizer_state(state["optimizers"])
        if session.scaler is not None:
            session.scaler.load_state_dict(state["scaler"])
        session.rates.observed[:] = state["observed"]
        if session.average is not None:
            session.average.load_state(state["average"])
        self.statistics.load_state(state["tally"])
        self.rises, self.data_wait = state["rises"], state["data_wait"]
        self.gradients.load_state(state["gradients"])
        self.parameters = state.get("parameters", {})
        session.gradient_evaluations = state["gradient_evaluations"]
        self.clock.load_state(state["clock"])
        self.evaluating = Stopwatch(state["evaluation_seconds"])
        self.peak_memory = state["peak_memory"]
        self.state_memory = StateMemory(*state.get("state_memory", [None]))
        self.best = Best(*state["best"]) if state["best"] else None
        checkpoints.restore_random_state(generators, session.device)
