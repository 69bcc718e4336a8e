"""What a trial tells beyond its metrics: gradients, costs, noise, resources; and that old records are still read."""

from __future__ import annotations

import itertools
import json
import math
import threading
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import optbench
from optbench.analysis.table import comparison
from optbench.engine.gradient_monitor import GradientMonitor
from optbench.engine.gradient_noise import gradient_noise
from optbench.engine.session import Session, prepare
from optbench.engine.utilisation import Monitor
from optbench.events import Evaluated, Event
from optbench.report.figures import drawings
from optbench.store import read
from optbench.store.records import event_line, to_event
from trials import CPU, evaluations, finished, records, run, started, stopped_after, trials, untimed


def events(folder: Path, **changes: Any) -> list[Event]:
    return run(trials(folder, **changes)[0], folder)


def test_norms_of_all_steps_are_summed_up_at_each_evaluation(tmp_path: Path) -> None:
    """The median of single steps, each seen by evaluating after it."""
    each = evaluations(events(tmp_path, workload={"evaluate": {"every": "1 step"}}))
    norms = [event.gradient_norm for event in each]
    whole = evaluations(events(tmp_path, workload={"study": "gradients"}))
    assert len(whole) == 3
    for position, event in enumerate(whole):
        mine = norms[6 * position : 6 * position + 6]
        assert event.gradient_norm_median == pytest.approx(median(n for n in mine if n is not None))
        assert event.gradient_norm_max == pytest.approx(max(n for n in mine if n is not None))
        assert (event.exploded_steps, event.vanished_steps) == (0, 0)


def test_norms_are_not_taken_unasked(tmp_path: Path) -> None:
    last = evaluations(events(tmp_path))[-1]
    assert (last.gradient_norm_median, last.exploded_steps) == (None, None)
    assert last.gradient_norm is not None


def test_a_study_changes_nothing_of_the_training(tmp_path: Path) -> None:
    plain = evaluations(events(tmp_path))
    studied = evaluations(events(tmp_path, workload={"study": ["gradients", "costs", "noise"]}))
    for one, other in zip(plain, studied, strict=True):
        assert one.metrics == other.metrics
        assert one.train_loss == other.train_loss
        assert one.loss_rises == other.loss_rises


def test_an_explosion_is_relative_to_the_running_median() -> None:
    watch = GradientMonitor()
    watch.add([1e6] * 50, 1.0)  # large, but usual
    assert watch.exploded == 0
    watch.add([9e6, 1.1e7, float("inf"), float("nan"), 1e6], 1.0)
    assert watch.exploded == 3
    falling = GradientMonitor()
    falling.add([10.0 * 0.9**step for step in range(100)], 1.0)
    falling.add([10.0 * 0.9**step for step in range(100, 200)], 0.1)
    assert (falling.exploded, falling.vanished) == (0, 0)


def test_vanishing_needs_a_loss_that_has_not_fallen() -> None:
    for loss, expected in ((0.9, 30), (0.1, 0)):
        watch = GradientMonitor()
        watch.add([1.0] * 100, 1.0)
        watch.add([1e-5] * 30, loss)
        assert watch.vanished == expected


def test_an_exploding_rate_is_counted_in_a_trial(tmp_path: Path) -> None:
    entry = {"A": {"use": "sgd", "lr": 30.0}}
    workload = {"study": "gradients", "budget": "40 epochs", "loss_bound": 1e30}
    found = evaluations(
        events(tmp_path, optimizers=entry, workload=workload, schedule={"name": "linear", "warmup": "90%"})
    )
    assert found[-1].exploded_steps is not None
    assert found[-1].exploded_steps > 0


def test_rises_count_the_steps_whose_loss_was_above_the_one_before(tmp_path: Path) -> None:
    each = evaluations(events(tmp_path, workload={"evaluate": {"every": "1 step"}}))
    losses = [event.train_loss for event in each]
    rises = sum(later > before for before, later in itertools.pairwise(losses))
    assert 0 < rises < len(losses)
    assert each[-1].loss_rises == evaluations(events(tmp_path))[-1].loss_rises == rises


def test_flops_and_activations_of_a_step_are_exact(tmp_path: Path) -> None:
    """12-16-3 network, 16 samples: forward, gradients of both weights, gradient of the hidden layer."""
    told = started(events(tmp_path, workload={"study": "costs"}))
    products = 12 * 16 + 16 * 3
    assert told.step_flops == 2 * 16 * (products + products + 16 * 3)
    twice = started(events(tmp_path, workload={"study": "costs", "batch_size": 32}))
    assert told.activation_bytes is not None
    assert twice.activation_bytes == 2 * told.activation_bytes


def test_activation_checkpointing_saves_activations(tmp_path: Path) -> None:
    data = {"name": "synthetic", "shape": [3, 16, 16], "classes": 3, "train": 32, "validation": 8, "test": 8}
    workload = {"model": "resnet20", "data": data, "study": "costs", "budget": "1 step", "batch_size": 8}
    plain = started(events(tmp_path, workload=workload)).activation_bytes
    less = started(events(tmp_path, workload={**workload, "activation_checkpointing": True})).activation_bytes
    assert plain is not None
    assert less is not None
    assert less < 0.5 * plain


def _sample_gradients(session: Session) -> torch.Tensor:
    """Return the gradient of each training sample, (samples, parameters)."""
    gradients = []
    for inputs, labels in session.batches("train"):
        for one, label in zip(inputs.split(1), labels.split(1), strict=True):
            session.model.zero_grad()
            cross_entropy(session.model(one), label).backward()
            gradients.append(torch.cat([p.grad.flatten() for p in session.parameters if p.grad is not None]))
    return torch.stack(gradients).double()


def test_the_noise_scale_is_that_of_single_samples_gradients(tmp_path: Path) -> None:
    data = {"name": "synthetic", "shape": [12], "classes": 3, "train": 512, "validation": 8, "test": 8}
    session = prepare(trials(tmp_path, workload={"data": data})[0], CPU, tmp_path)
    found = gradient_noise(session).scale
    each = _sample_gradients(session)
    assert found == pytest.approx(float(each.var(0).sum() / (each.mean(0) ** 2).sum()), rel=0.15)


@pytest.mark.parametrize("batch_size", [16, 64])
def test_the_variance_of_a_batch_is_that_of_a_sample_over_its_size(tmp_path: Path, batch_size: int) -> None:
    data = {"name": "synthetic", "shape": [12], "classes": 3, "train": 2048, "validation": 8, "test": 8}
    workload = {"data": data, "batch_size": batch_size}
    session = prepare(trials(tmp_path, workload=workload)[0], CPU, tmp_path)
    before = [p.grad for p in session.parameters]
    found = gradient_noise(session).variance
    assert all(p.grad is old for p, old in zip(session.parameters, before, strict=True))
    expected = float(_sample_gradients(session).var(0).sum()) / batch_size
    assert found == pytest.approx(expected, rel=0.3)


def test_one_batch_per_epoch_has_no_variance(tmp_path: Path) -> None:
    session = prepare(trials(tmp_path, workload={"batch_size": "full"})[0], CPU, tmp_path)
    assert math.isnan(gradient_noise(session).variance)


def test_noise_is_reported_at_start_and_end(tmp_path: Path) -> None:
    told = events(tmp_path, workload={"study": "noise"})
    assert started(told).gradient_noise is not None
    assert finished(told).gradient_noise is not None
    assert started(told).gradient_noise != finished(told).gradient_noise
    assert started(told).gradient_variance is not None
    assert finished(told).gradient_variance is not None


def test_the_largest_row_of_embedding_tables_is_recorded(tmp_path: Path) -> None:
    data = {"name": "synthetic_ratings", "users": 20, "items": 30, "ratings": 300}
    workload = {"model": {"name": "matrix_factorisation", "factors": 4}, "data": data, "batch_size": 16}
    target = {"metric": "rmse", "at_most": 0.1}
    told = finished(
        events(tmp_path, workload={**workload, "loss": "mse", "metrics": ["rmse"], "target": target})
    )
    assert told.embedding_norm_max is not None
    assert 0 < told.embedding_norm_max < math.inf
    assert finished(events(tmp_path)).embedding_norm_max is None


def test_gradient_evaluations_are_steps_or_calls_of_the_closure(tmp_path: Path) -> None:
    assert finished(events(tmp_path)).gradient_evaluations == 18
    entry = {"L": {"use": "torch.optim.LBFGS", "lr": 0.1, "max_iter": 5}}
    counted = finished(events(tmp_path, optimizers=entry)).gradient_evaluations
    assert counted is not None
    assert 18 < counted <= 18 * 7


def test_gradient_evaluations_are_recorded_at_each_evaluation(tmp_path: Path) -> None:
    told = events(tmp_path, workload={"accumulate": 4})
    assert [event.gradient_evaluations for event in evaluations(told)] == [6, 12, 18]  # a batch counts once
    entry = {"L": {"use": "torch.optim.LBFGS", "lr": 0.1, "max_iter": 5}}
    told = events(tmp_path, optimizers=entry)
    counts = [event.gradient_evaluations for event in evaluations(told)]
    assert counts == sorted(counts)  # type: ignore[type-var]
    assert counts[0] > 6  # type: ignore[operator]
    assert counts[-1] == finished(told).gradient_evaluations


def test_a_study_survives_a_resume(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, workload={"study": ["gradients", "noise"]})
    whole = run(trial, tmp_path)
    stops = iter([False] * 8 + [True] * 9)
    path = tmp_path / "x.pt"
    first = run(trial, tmp_path, checkpoint=path, should_stop=lambda: next(stops))
    second = run(trial, tmp_path, checkpoint=path)
    assert finished(first).status == "interrupted"
    assert untimed(finished(second)) == untimed(finished(whole))
    seen = {event.step: untimed(event) for event in (*evaluations(first), *evaluations(second))}
    assert seen == {event.step: untimed(event) for event in evaluations(whole)}


def test_resources_are_sampled_off_the_training_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    found = finished(events(tmp_path)).resources
    assert threading.active_count() == before
    memory = found["process_memory_bytes"]
    assert 1e7 < memory["least"] <= memory["mean"] <= memory["most"] < 1e11
    assert finished(events(tmp_path)).data_wait_seconds == 0.0  # small data are on the device


def test_a_machine_without_counters_causes_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optbench.engine.utilisation.Path.read_text", lambda *_: 1 / 0)
    monitor = Monitor(CPU)
    monitor.sample()
    assert "process_memory_bytes" not in monitor.summary()


def test_processor_share_lies_between_idle_and_full() -> None:
    monitor = Monitor(CPU)
    with monitor.running():
        torch.randn(600, 600) @ torch.randn(600, 600)
        threading.Event().wait(0.05)
    monitor.sample()
    assert 0 <= monitor.summary()["cpu_utilisation"]["mean"] <= 1


def test_records_with_and_without_the_new_fields_are_read(tmp_path: Path) -> None:
    told = events(tmp_path, workload={"study": ["gradients", "costs", "noise"]})
    for event in (started(told), evaluations(told)[-1], finished(told)):
        line = json.loads(event_line(event))
        assert to_event(line) == event
        later = (
            "loss_rises",
            "gradient_norm_median",
            "gradient_norm_max",
            "exploded_steps",
            "vanished_steps",
        )
        later += ("activation_bytes", "step_flops", "gradient_noise", "gradient_evaluations", "resources")
        old = {key: value for key, value in line.items() if key not in (*later, "data_wait_seconds")}
        read = to_event(old)
        assert getattr(read, "resources", {}) == {}
        if isinstance(read, Evaluated):
            assert read.exploded_steps is None
            assert read.step == evaluations(told)[-1].step


def test_clipping_by_value_counts_the_steps_that_it_changed(tmp_path: Path) -> None:
    """A threshold between the largest components of two steps: by norm every step would count."""
    each = {"workload": {"evaluate": {"every": "1 step"}, "budget": "1 epoch"}}
    (trial,) = trials(tmp_path, **each)
    session = prepare(trial, CPU, tmp_path)
    largest = []
    for step in range(6):
        inputs, labels = session.training_batches.batch(step)
        session.optimizers.zero_grad()
        cross_entropy(session.forward(inputs), labels).backward()
        largest.append(max(float(p.grad.abs().max()) for p in session.parameters if p.grad is not None))
        session.optimizers.step()
    threshold = sorted(largest)[-2]
    last = evaluations(events(tmp_path, clip={"value": threshold * 1.001}, **each))[-1]
    assert last.clipped_steps == 1


def test_recomputed_operations_count_twice(tmp_path: Path) -> None:
    data = {"name": "synthetic", "shape": [3, 16, 16], "classes": 3, "train": 32, "validation": 8, "test": 8}
    workload = {"model": "resnet20", "data": data, "study": "costs", "budget": "1 step", "batch_size": 8}
    plain = started(events(tmp_path, workload=workload)).step_flops
    more = started(events(tmp_path, workload={**workload, "activation_checkpointing": True})).step_flops
    assert plain is not None
    assert more is not None
    assert 1.2 * plain < more < 1.4 * plain


KINDS_NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, sparse=False):
        super().__init__()
        self.table = torch.nn.Embedding(50, 4, sparse=sparse)
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3))

    def forward(self, x):
        return self.body(self.table((x.abs() * 10).long().clamp(max=49)).mean(1))
"""


@pytest.mark.parametrize("sparse", [False, True])
def test_norms_per_kind_of_parameter_are_those_of_the_last_step(sparse: bool, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(KINDS_NET)
    workload = {"model": {"name": "net.py:Net", "sparse": sparse}, "study": "parameters"}
    each = evaluations(events(tmp_path, workload=workload))
    assert len(each) == 3
    for event in each:
        found = event.metrics["parameters"]
        assert {name.rpartition("_")[2] for name in found} == {"embeddings", "matrices", "vectors"}
        squares = 0.0
        for kind in ("embeddings", "matrices", "vectors"):
            gradient, update = (float(found[f"{name}_norm_{kind}"]) for name in ("gradient", "update"))
            assert update == pytest.approx(0.1 * gradient, rel=1e-3)  # SGD with a learning rate of 0.1
            assert found[f"relative_update_{kind}"] == pytest.approx(update / found[f"weight_norm_{kind}"])
            squares += gradient**2
        assert squares**0.5 == pytest.approx(event.gradient_norm, rel=1e-5)


def test_norms_per_kind_change_nothing_and_survive_an_interruption(tmp_path: Path) -> None:
    plain = evaluations(events(tmp_path))
    (trial,) = trials(tmp_path, workload={"study": "parameters"})
    whole = run(trial, tmp_path)
    for one, other in zip(plain, evaluations(whole), strict=True):
        assert one.metrics == {split: of for split, of in other.metrics.items() if split != "parameters"}
    parts = list(stopped_after(trial, tmp_path, 5, tmp_path / "trial.pt"))
    assert repr(records(parts)) == repr(records(whole))


def test_norms_per_kind_are_in_the_frames_and_have_a_figure(tmp_path: Path) -> None:
    trials(tmp_path, workload={"study": "parameters"})
    study = optbench.run(tmp_path / "suite.yaml", results=tmp_path / "results", reruns=0)
    found = read([tmp_path / "results"])
    names = set(study.evaluations().columns)
    assert {"parameters_gradient_norm_matrices", "parameters_relative_update_vectors"} <= names
    by_name = {each.name: each for each in drawings(found, comparison(found), None)}
    titles = [panel.title for panel in by_name["parameters"].plot.panels]
    assert "gradient norm, matrices" in titles
    assert "relative update, vectors" in titles
    assert not any("parameters" in name for name in by_name if name.startswith("curves"))
