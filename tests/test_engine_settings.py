"""Effects of suite settings: accumulation, clipping, averaging, precision, routing, optimizers with special requirements."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from trials import evaluations, finished, run, started, trials

IMAGES = {
    "model": {"name": "small_cnn", "width": 4},
    "data": {
        "name": "synthetic",
        "shape": [1, 8, 8],
        "classes": 3,
        "train": 96,
        "validation": 32,
        "test": 32,
    },
}
SGD = {"use": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9}


def events_of(folder: Path, entry: dict[str, Any] = SGD, **changes: Any) -> Any:
    (trial,) = trials(folder, optimizers={"One": entry}, **changes)
    return run(trial, folder)


def losses(events: Any) -> list[float]:
    return [record.train_loss for record in evaluations(events)]


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_accumulation_equals_one_large_batch_also_with_unequal_parts(parts: int, tmp_path: Path) -> None:
    whole = losses(events_of(tmp_path))
    assert losses(events_of(tmp_path, workload={"accumulate": parts})) == pytest.approx(whole, rel=1e-6)


def test_another_data_order_starts_from_the_same_weights_and_sees_other_batches(tmp_path: Path) -> None:
    usual, same, other = (events_of(tmp_path, workload={"data_order": order}) for order in (0, 0, 1))
    assert started(usual).initial_weights == started(other).initial_weights
    assert losses(usual) == losses(same) != losses(other)
    assert losses(events_of(tmp_path)) == losses(usual)


def test_the_order_of_the_data_does_not_matter_to_whole_batches(tmp_path: Path) -> None:
    one, other = (
        losses(events_of(tmp_path, workload={"data_order": order, "batch_size": "full"})) for order in (0, 1)
    )
    assert one == pytest.approx(other, rel=1e-5)


def test_clipping_by_norm_counts_the_steps_it_clipped(tmp_path: Path) -> None:
    tight = evaluations(events_of(tmp_path, clip={"norm": 1e-3}))[-1]
    loose = evaluations(events_of(tmp_path, clip={"norm": 1e3}))[-1]
    assert (tight.clipped_steps, loose.clipped_steps) == (18, 0)
    assert tight.gradient_norm is not None
    assert tight.gradient_norm > 1e-3  # as it was before clipping


def test_clipping_by_value_bounds_the_update(tmp_path: Path) -> None:
    clipped = events_of(tmp_path, {"use": "torch.optim.SGD", "lr": 0.1}, clip={"value": 1e-9})
    assert max(losses(clipped)) - min(losses(clipped)) < 0.2
    assert losses(clipped) != losses(events_of(tmp_path, {"use": "torch.optim.SGD", "lr": 0.1}))


def test_activation_checkpointing_changes_no_bit_not_even_in_batch_norm(tmp_path: Path) -> None:
    resnet = {
        **IMAGES,
        "model": {"name": "resnet20"},
        "budget": {"steps": 4},
        "evaluate": {"every": "2 steps"},
    }
    plain = evaluations(events_of(tmp_path, workload=resnet))
    saved = evaluations(events_of(tmp_path, workload={**resnet, "activation_checkpointing": True}))
    assert [(r.train_loss, r.metrics) for r in plain] == [(r.train_loss, r.metrics) for r in saved]


def test_ema_evaluates_the_average_and_trains_on_the_weights(tmp_path: Path) -> None:
    plain = evaluations(events_of(tmp_path))
    averaged = evaluations(events_of(tmp_path, ema={"decay": 0.9}))
    assert [r.train_loss for r in plain] == [r.train_loss for r in averaged]
    assert [r.metrics for r in plain] != [r.metrics for r in averaged]


def test_bf16_on_a_cpu_is_recorded_and_changes_the_numbers(tmp_path: Path) -> None:
    half, full = events_of(tmp_path, precision="bf16"), events_of(tmp_path)
    assert (started(half).precision, started(full).precision) == ("bf16", "fp32")
    assert losses(half) == pytest.approx(losses(full), rel=0.05)
    assert losses(half) != losses(full)


def test_fp16_scales_gradients_and_counts_skipped_steps(tmp_path: Path) -> None:
    events = events_of(tmp_path, precision="fp16")
    last = evaluations(events)[-1]
    assert started(events).precision == "fp16"
    assert finished(events).status == "completed"
    # the scaler starts at 65536 and finds its scale by skipping: every skip is in the record
    assert last.skipped_steps < 18
    assert losses(events) == pytest.approx(losses(events_of(tmp_path)), rel=0.3)


def test_norms_and_biases_can_be_exempt_from_weight_decay(tmp_path: Path) -> None:
    entry = {"use": "torch.optim.AdamW", "lr": 1e-3, "weight_decay": 0.1}
    groups = started(
        events_of(tmp_path, entry, workload=IMAGES, no_weight_decay=["norms", "biases"])
    ).hyperparameters
    assert [(group["weight_decay"], group["parameters"]) for group in groups] == [
        (0.1, 4 * 9 + 8 * 4 * 9 + 16 * 8 * 9 + 16 * 3),
        (0.0, 2 * (4 + 8 + 16) + 3),
    ]


def test_resolved_hyperparameters_hold_the_classes_defaults(tmp_path: Path) -> None:
    (group,) = started(events_of(tmp_path, {"use": "torch.optim.Adam", "lr": 1e-3})).hyperparameters
    assert group["class"] == "torch.optim.adam.Adam"
    assert group["betas"] == [0.9, 0.999]


def test_rules_give_matrices_to_muon_and_the_rest_to_adamw(tmp_path: Path) -> None:
    rules = [
        {"parameters": "matrices", "use": "torch.optim.Muon", "lr": 0.02},
        {"parameters": "rest", "use": "torch.optim.AdamW", "lr": 1e-3},
    ]
    events = events_of(tmp_path, {"use": rules})
    muon, adamw = started(events).hyperparameters
    assert (muon["class"].rpartition(".")[2], muon["parameters"]) == ("Muon", 12 * 16 + 16 * 3)
    assert (adamw["class"].rpartition(".")[2], adamw["parameters"]) == ("AdamW", 16 + 3)
    assert finished(events).status == "completed"


def test_a_parameter_that_no_rule_takes_is_named(tmp_path: Path) -> None:
    end = finished(
        events_of(tmp_path, {"use": [{"parameters": "matrices", "use": "torch.optim.Muon", "lr": 0.02}]})
    )
    assert end.status == "failed"
    assert "bias" in end.detail
    assert "parameters: rest" in end.detail


def test_lbfgs_gets_its_closure(tmp_path: Path) -> None:
    entry = {"use": "torch.optim.LBFGS", "lr": 1.0, "line_search_fn": "strong_wolfe", "max_iter": 5}
    events = events_of(tmp_path, entry, workload={"batch_size": 96, "budget": {"epochs": 10}})
    assert finished(events).status == "completed"
    assert losses(events)[-1] < 0.3 * losses(events)[0]


def test_schedule_free_evaluates_at_its_averaged_weights(tmp_path: Path) -> None:
    pytest.importorskip("schedulefree")
    entry = {"use": "schedulefree.AdamWScheduleFree", "lr": 0.01}
    events = events_of(tmp_path, entry, workload=IMAGES)
    assert finished(events).status == "completed"
    assert losses(events)[-1] < losses(events)[0]


def test_a_schedule_reaches_every_group_at_its_own_rate(tmp_path: Path) -> None:
    records = evaluations(
        events_of(
            tmp_path, schedule={"name": "linear", "warmup": "6 steps"}, workload={"budget": {"epochs": 3}}
        )
    )
    assert [r.learning_rate for r in records] == pytest.approx([0.05, 0.05 * 7 / 12, 0.05 / 12])


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_model_gives_the_same_losses(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    plain = losses(events_of(tmp_path, workload={"budget": {"epochs": 1}}))
    compiled = events_of(tmp_path, workload={"budget": {"epochs": 1}, "compile": True})
    assert losses(compiled) == pytest.approx(plain, rel=1e-5)
    assert finished(compiled).setup_seconds > finished(compiled).train_seconds


def test_channels_last_gives_the_same_losses(tmp_path: Path) -> None:
    plain = losses(events_of(tmp_path, workload=IMAGES))
    other = losses(events_of(tmp_path, workload={**IMAGES, "memory_format": "channels_last"}))
    assert other == pytest.approx(plain, rel=1e-4)


def test_threads_are_recorded(tmp_path: Path) -> None:
    assert started(events_of(tmp_path)).environment["threads"] == torch.get_num_threads()


class Spectral(torch.nn.Module):
    """All parameters are complex, or all but the head's."""

    def __init__(self, in_features: int, num_classes: int, head: bool) -> None:
        super().__init__()
        width = 8 if head else num_classes
        self.weight = torch.nn.Parameter(0.1 * torch.randn(in_features // 2 + 1, width, dtype=torch.cfloat))
        self.head = torch.nn.Linear(width, num_classes) if head else None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        real = (torch.fft.rfft(inputs.flatten(1)) @ self.weight).real
        return real if self.head is None else self.head(real)


@pytest.mark.parametrize("head", [False, True])
def test_the_moving_average_holds_complex_parameters(head: bool, tmp_path: Path) -> None:
    """With a decay next to 1 evaluations are those of the initial weights."""
    model = {"name": f"{Spectral.__module__}.Spectral", "head": head}
    ends = [
        finished(
            events_of(
                tmp_path,
                {"use": "torch.optim.SGD", "lr": rate},
                ema={"decay": 0.9999999},
                workload={"model": model},
            )
        )
        for rate in (0.1, 0.0)
    ]
    assert ends[0].status == "completed"
    assert ends[0].final["last"]["loss"] == pytest.approx(ends[1].final["last"]["loss"], abs=1e-5)


BRANCHES = """
from collections import namedtuple
from torch import nn

Both = namedtuple("Both", "scores aux")


class Aux(nn.Module):
    def __init__(self, in_features, num_classes, outputs):
        super().__init__()
        self.outputs = outputs
        self.a, self.unused = nn.Linear(in_features, num_classes), nn.Linear(in_features, num_classes)

    def forward(self, x):
        x = self.a(x.flatten(1))
        if not self.training or self.outputs == 1:
            return x
        return Both(x, x) if self.outputs == 2 else x[:, :2]
"""


@pytest.mark.parametrize(
    ("outputs", "message"), [(2, "found Both in training mode"), (0, "found (batch, 2) in training mode")]
)
def test_a_model_that_gives_something_else_while_it_trains_is_named(
    outputs: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "aux.py").write_text(BRANCHES)
    end = finished(events_of(tmp_path, workload={"model": {"name": "aux.py:Aux", "outputs": outputs}}))
    assert (end.status, end.at_fault) == ("failed", "")
    assert "model aux.py:Aux: expected" in end.detail
    assert message in end.detail


def test_rules_without_a_gradient_are_left_out_of_scaled_steps(tmp_path: Path) -> None:
    (tmp_path / "aux.py").write_text(BRANCHES)
    rules = [
        {"parameters": "unused.*", "use": "torch.optim.SGD", "lr": 0.1},
        {"parameters": "rest", "use": "torch.optim.SGD", "lr": 0.1},
    ]
    model = {"name": "aux.py:Aux", "outputs": 1}
    ends = [
        finished(events_of(tmp_path, {"use": rules}, workload={"model": model}, precision=precision))
        for precision in ("fp32", "fp16")
    ]
    assert [end.status for end in ends] == ["completed", "completed"]
