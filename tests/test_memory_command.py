"""`optbench memory`: exact state, hand-computed activations, and a forecast that the real allocator confirms."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optbench.catalog import lookup
from optbench.catalog.task_defaults import model_tasks
from optbench.catalog.types import DataInfo
from optbench.cli.named_trials import WorkloadSettings, named_trials
from optbench.engine.memory_forecast import forecast
from optbench.engine.memory_forecast_check import training_peak, with_measured
from optbench.engine.model_memory import CPU, model_memory
from optbench.engine.optimizer_memory import as_on_gpu, optimizer_memory
from optbench.engine.precision import resolve
from optbench.engine.tasks import build_task
from optbench.errors import OptbenchError
from optbench.forecasts import Forecast, ModelMemory, OptimizerMemory
from optbench.suite.call_notation import parse_call
from optbench.suite.types import Trial
from program import Done, optbench

LOSS = nn.functional.cross_entropy
MODEL = {"name": "mlp", "arguments": {"hidden": [64, 64]}}
SHAPE, CLASSES = (48,), 8
INFO = DataInfo(0, 0, 0, SHAPE, CLASSES)
PLUGINS = '''
import torch

class Base(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})
    def each(self):
        for group in self.param_groups:
            for p in group["params"]:
                yield p, self.state[p]

class Factored(Base):
    """A row and a column of second moments for matrices, nothing for vectors."""
    @torch.no_grad()
    def step(self, closure=None):
        for p, state in self.each():
            if p.dim() == 2:
                state["row"] = p.grad.square().mean(1)
                state["column"] = p.grad.square().mean(0)
            p.sub_(p.grad, alpha=0.01)

class Lazy(Base):
    """No state before its fourth step."""
    calls = 0
    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for p, state in self.each():
            if self.calls == 4:
                state["late"] = torch.zeros_like(p)

class Shared(Base):
    """Views of one buffer, and an alias of the parameter itself."""
    @torch.no_grad()
    def step(self, closure=None):
        for p, state in self.each():
            if not state:
                both = torch.zeros(2, *p.shape)
                state["first"], state["second"], state["self"] = both[0], both[1], p.detach()
                state["count"] = torch.tensor(0.0)

class Anew(Base):
    """Replaces its momentum at each step instead of changing it: one tensor more, for a moment, than it keeps."""
    @torch.no_grad()
    def step(self, closure=None):
        for p, state in self.each():
            state["momentum"] = 0.9 * state.get("momentum", 0) + p.grad

class Wrapper:
    """No torch optimizer: a dict of lists, and those of the optimizer inside."""
    def __init__(self, params, lr=0.01):
        params = list(params)
        self.inner = torch.optim.Adam(params, lr=lr)
        self.param_groups = self.inner.param_groups
        self.slow = {"weights": [[p.detach().clone() for p in params]]}
    def step(self, closure=None):
        self.inner.step()
    def zero_grad(self, set_to_none=True):
        self.inner.zero_grad(set_to_none)
    def state_dict(self):
        return {"inner": self.inner.state_dict(), "slow": self.slow}

class Broken(Base):
    def step(self, closure=None):
        raise ValueError("cannot factor this")
'''


def trial(use: str, folder: Path | str = ".", **changes: Any) -> Trial:
    workload = {"model": MODEL, "data": "synthetic", "batch_size": 16, "budget": "1 steps"}
    rule = {"use": use, "arguments": changes.pop("arguments", {})}
    return Trial.model_validate(
        {
            "suite": "s", "workload_name": "w", "workload": workload | changes.pop("workload", {}), "label": use,
            "entry": {"rules": [rule]} | changes.pop("entry", {}), "seed": 0, "precision": "fp32",
            "folder": str(folder), **changes,
        }
    )  # fmt: skip


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 8))


def parameter_bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def multiple(use: str, arguments: dict[str, Any] | None = None, **changes: Any) -> float:
    model = small()
    found = optimizer_memory(trial(use, arguments=arguments or {}, **changes), model)
    assert found.problem == ""
    assert found.state_bytes is not None
    return found.state_bytes / parameter_bytes(model)


@pytest.mark.parametrize(
    ("use", "arguments", "times"),
    [
        ("sgd", {}, 0), ("sgd", {"momentum": 0.9}, 1), ("sgd", {"momentum": 0.9, "nesterov": True}, 1),
        ("adam", {}, 2), ("adam", {"amsgrad": True}, 3), ("adamw", {}, 2), ("adamw", {"amsgrad": True}, 3),
        ("nadam", {}, 2), ("radam", {}, 2), ("adamax", {}, 2), ("adadelta", {}, 2), ("adagrad", {}, 1),
        ("rmsprop", {}, 1), ("rmsprop", {"momentum": 0.9}, 2), ("rmsprop", {"centered": True}, 2),
        ("rmsprop", {"centered": True, "momentum": 0.9}, 3), ("asgd", {}, 1), ("rprop", {}, 2),
        ("lbfgs", {"history_size": 3}, 8), ("lbfgs", {"history_size": 10}, 22), ("lbfgs", {}, 202),
    ],
)  # fmt: skip
def test_state_is_exact(use: str, arguments: dict[str, Any], times: int) -> None:
    assert multiple(use, arguments) == times


@pytest.mark.parametrize("implementation", ["forloop", "foreach", "fused"])
def test_every_implementation_holds_the_same_state(implementation: str) -> None:
    assert multiple("adamw", implementation=implementation) == 2


def test_adafactor_factors_matrices_and_not_vectors() -> None:
    held = (48 + 64) + (64 + 8) + 64 + 8
    assert multiple("adafactor") == held * 4 / parameter_bytes(small())


def test_adafactor_saves_nothing_on_small_kernels() -> None:
    """It factors the last two dimensions, which are a convolution's 3x3 or 1x1: more state than parameters, on ResNet-50 too."""
    model = nn.Sequential(nn.Conv2d(8, 6, 3, bias=False), nn.Conv2d(6, 4, 1, bias=False))
    found = optimizer_memory(trial("adafactor"), model)
    assert found.state_bytes == 4 * (8 * 6 * (3 + 3) + 6 * 4 * (1 + 1))


def test_a_long_history_is_reported_in_full_and_stated_to_be_extrapolated() -> None:
    found = optimizer_memory(trial("lbfgs", arguments={"history_size": 30}), small())
    assert found.state_bytes == 62 * parameter_bytes(small())
    assert "history of 30, extrapolated" in found.note


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    (tmp_path / "odd.py").write_text(PLUGINS)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "floats"),
    [
        ("Factored", (48 + 64) + (64 + 8)),
        ("Shared", 2 * (49 * 64 + 65 * 8)),
        ("Anew", 49 * 64 + 65 * 8),
        ("Wrapper", 3 * (49 * 64 + 65 * 8)),
    ],
)
def test_odd_state_is_counted_once_and_whole(name: str, floats: int, plugins: Path) -> None:
    assert optimizer_memory(trial(f"odd.py:{name}", plugins), small()).state_bytes == 4 * floats


def test_state_that_comes_late_is_seen_with_enough_steps(plugins: Path) -> None:
    lazy = trial("odd.py:Lazy", plugins)
    assert optimizer_memory(lazy, small(), least_steps=3).state_bytes == 0
    assert optimizer_memory(lazy, small(), least_steps=5).state_bytes == parameter_bytes(small())


def test_an_optimizer_that_fails_is_a_row_with_its_reason(plugins: Path) -> None:
    found = optimizer_memory(trial("odd.py:Broken", plugins), small())
    assert (found.state_bytes, found.step_peak_bytes) == (None, None)
    assert found.problem == "ValueError: cannot factor this"


def test_foreach_peaks_at_a_copy_of_the_parameters_and_fused_at_none() -> None:
    size = parameter_bytes(small())
    peaks = {
        name: optimizer_memory(trial("adamw", implementation=name), small()).step_peak_bytes
        for name in ("default", "foreach", "forloop", "fused")
    }
    assert peaks["default"] == peaks["foreach"] == pytest.approx(size, rel=0.01)
    assert peaks["fused"] is not None
    assert peaks["fused"] < 100
    assert peaks["forloop"] == pytest.approx(2 * 48 * 64 * 4, abs=100)  # of one tensor after the other


def test_the_peak_of_a_step_that_replaces_its_state_counts_what_it_frees(plugins: Path) -> None:
    """For each tensor 0.9 x momentum and the sum are new, then the old momentum goes: the largest counts twice."""
    found = optimizer_memory(trial("odd.py:Anew", plugins), small())
    assert found.step_peak_bytes == 2 * 48 * 64 * 4


def test_default_means_what_torch_takes_on_a_gpu() -> None:
    def asked(use: str, **arguments: Any) -> dict[str, Any]:
        return as_on_gpu(trial(use, arguments=arguments)).entry.rules[0].arguments

    assert asked("adamw") == {"foreach": True}
    assert asked("adamw", fused=True) == {"fused": True}
    assert asked("adamw", foreach=False) == {"foreach": False}
    assert asked("adafactor") == {}
    assert asked("lbfgs") == {}


def followed(model: nn.Module, shape: tuple[int, ...], batch: int, **settings: Any) -> ModelMemory:
    precision = resolve(settings.pop("precision", "fp32"), CPU)
    workload = trial("sgd", workload=settings).workload
    task = build_task(workload, DataInfo(0, 0, 0, shape, 8), ".")
    return model_memory(model, workload, task, batch, precision=precision)


def test_activations_of_a_perceptron_are_those_by_hand() -> None:
    """ReLU's output serves ReLU and the second layer; the loss keeps log-probabilities. Inputs are told apart."""
    found = followed(small(), (48,), 16)
    assert found.activation_bytes == 4 * 16 * (64 + 8)
    assert found.batch_bytes == 16 * (48 * 4 + 8)
    assert found.gradient_bytes == found.parameter_bytes == parameter_bytes(small())
    assert found.parameters == 49 * 64 + 65 * 8


def test_activations_of_a_convnet_are_those_by_hand() -> None:
    """Convolution output (for batch norm), its mean and inverse deviation, batch norm's output (ReLU in place), the pooled map
    with positions of eight bytes, log-probabilities."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(6 * 4 * 4, 8),
    )  # fmt: skip
    found = followed(model, (3, 8, 8), 4)
    maps, pooled = 4 * 6 * 8 * 8, 4 * 6 * 4 * 4
    assert found.activation_bytes == 4 * (2 * maps + 2 * 6 + pooled + 4 * 8) + 8 * pooled
    assert found.fixed_bytes == 2 * 6 * 4 + 8


def test_channels_last_is_followed_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 8), nn.Flatten())
    found = followed(model, (3, 8, 8), 4, memory_format="channels_last")
    assert found.activation_bytes == 4 * 4 * 8  # log-probabilities; the inputs are told apart


def test_a_shared_parameter_and_a_frozen_one_count_once_and_apart() -> None:
    model = nn.Sequential(nn.Linear(48, 48), nn.Linear(48, 48), nn.Linear(48, 8))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    found = followed(model, (48,), 4)
    assert found.parameter_bytes == found.gradient_bytes == 4 * (48 * 48 + 48 + 48)
    assert found.fixed_bytes == 4 * (48 * 8 + 8)


def test_autocast_halves_activations_and_keeps_cast_copies() -> None:
    """Of the inputs, and of the second layer's weight; the first one's is not needed, nor are biases. The loss is in fp32."""
    found = followed(small(), (48,), 16, precision="bf16")
    assert found.activation_bytes == 2 * (16 * 48 + 64 * 8 + 16 * 64) + 4 * 16 * 8


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(48, 48), nn.Linear(48, 48)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.first(inputs).relu()).relu()


def test_checkpointing_and_micro_batches_need_less() -> None:
    model = nn.Sequential(*(Block() for _ in range(6)), nn.Linear(48, 8))
    plain, forgetful = (followed(model, (48,), 256, activation_checkpointing=on) for on in (False, True))
    parts = followed(model, (48,), 256, accumulate=4)
    assert plain.activation_bytes == 4 * 256 * (12 * 48 + 8)
    assert forgetful.activation_bytes == 4 * 256 * (6 * 48 + 8)
    assert parts.activation_bytes == plain.activation_bytes / 4
    assert parts.backward_peak_bytes is not None
    assert plain.backward_peak_bytes is not None
    assert parts.backward_peak_bytes < plain.backward_peak_bytes


def test_following_a_model_neither_runs_nor_changes_it() -> None:
    model = nn.Sequential(nn.Linear(48, 8), nn.BatchNorm1d(8)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    followed(model, (48,), 16)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


class ReadsValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) if inputs.sum() > 0 else -self.layer(inputs)


def test_a_model_that_reads_values_gets_no_invented_activations() -> None:
    found = followed(ReadsValues(), (48,), 16)
    assert (found.activation_bytes, found.backward_peak_bytes) == (None, None)
    assert "DataDependent" in found.problem
    row = Forecast("x", 16, "fp32", found, OptimizerMemory(0, 0))
    assert row.total_bytes is None


def test_total_is_the_larger_of_backward_and_step_on_top_of_what_stays() -> None:
    model = ModelMemory(
        10, parameter_bytes=40, fixed_bytes=3, batch_bytes=5, gradient_bytes=40, activation_bytes=70,
        backward_peak_bytes=90,
    )  # fmt: skip

    def total(state: int, step: int, **more: Any) -> int | None:
        return Forecast("x", 1, "fp32", model, OptimizerMemory(state, step, **more)).total_bytes

    assert total(80, 40) == 40 + 3 + 5 + 80 + 90
    assert total(80, 60) == 40 + 3 + 5 + 80 + 100
    assert total(80, 60, closure=True) == 40 + 3 + 5 + 80 + 90 + 60


@pytest.mark.parametrize(
    ("model", "shape", "precision"),
    [
        ({"name": "mlp", "arguments": {"hidden": [256, 256]}}, (100,), "fp32"),
        ("small_cnn", (3, 16, 16), "fp32"),
        ("resnet20", (3, 32, 32), "bf16"),
        ({"name": "vit_tiny", "arguments": {"depth": 1}}, (3, 32, 32), "fp32"),
    ],
)
def test_forecast_is_within_5_percent_of_the_real_allocator(model: Any, shape: Any, precision: str) -> None:
    if precision == "bf16" and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("this processor has no bf16 arithmetic: torch convolves copies in fp32, as no GPU does")
    rows = [
        trial(use, workload={"model": model}, implementation="foreach", precision=precision)
        for use in ("sgd", "adamw", "adagrad")
    ]
    for row in with_measured(
        forecast(rows, DataInfo(0, 0, 0, shape, 10)), rows, DataInfo(0, 0, 0, shape, 10), CPU
    ):
        assert row.measured_bytes is not None
        assert row.total_bytes == pytest.approx(row.measured_bytes, rel=0.05)


def test_a_moving_average_is_in_the_total() -> None:
    averaged = trial("adamw", entry={"ema": {"decay": 0.9}}, implementation="foreach")
    [row] = forecast([averaged], INFO)
    assert row.average_bytes == row.model.parameter_bytes
    assert row.total_bytes == pytest.approx(training_peak(averaged, INFO, CPU), rel=0.05)


def test_the_bound_with_a_closure_holds() -> None:
    quasi_newton = trial("lbfgs", arguments={"history_size": 4})
    [row] = forecast([quasi_newton], INFO)
    measured = training_peak(quasi_newton, INFO, CPU)
    assert row.total_bytes is not None
    assert measured is not None
    assert 0.95 * measured <= row.total_bytes <= 1.4 * measured


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("adamw", ("adamw", {})),
        ("torch.optim.SGD(momentum=0.9, nesterov=True)", ("torch.optim.SGD", {"momentum": 0.9, "nesterov": True})),
        ("a (1)/my.py:Mine(betas=(0.9, 0.99), k=[1, 2])", ("a (1)/my.py:Mine", {"betas": (0.9, 0.99), "k": [1, 2]})),
        ("adam()", ("adam", {})),
    ],
)  # fmt: skip
def test_a_call_is_read(text: str, parsed: tuple[str, dict[str, Any]]) -> None:
    assert parse_call(text, "x") == parsed


@pytest.mark.parametrize(
    "text",
    ["", "(lr=1)", "sgd(0.1)", "sgd(**{})", "sgd(lr=", "sgd(lr=open('x'))", "sgd(lr=1)(2)", "sgd(lr=1).x", "sgd(lr=1, lr=2)",
     "sgd(lr=1) if 1 else f()"],
)  # fmt: skip
def test_anything_but_names_and_literals_is_refused(text: str) -> None:
    with pytest.raises(OptbenchError, match="expected NAME"):
        parse_call(text, "--optimizer")


def memory(*arguments: str, folder: Path) -> Done:
    return optbench("memory", *arguments, cwd=folder)


def test_ten_optimizers_by_default(tmp_path: Path) -> None:
    done = memory("resnet20", "--format", "csv", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["optimizer"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert len(rows) == 10
    times = {label: float(row["state_over_parameters"]) for label, row in rows.items()}
    assert times | {"Adafactor": 0} == {
        "SGD": 0, "SGD + momentum": 1, "Adam": 2, "AdamW": 2, "AdamW amsgrad": 3, "NAdam": 2, "RMSprop": 1,
        "RMSprop centered + momentum": 3, "Adagrad": 1, "Adafactor": 0,
    }  # fmt: skip
    assert {row["parameters"] for row in rows.values()} == {"269722"}


def test_the_default_optimizers_of_a_model_with_sparse_gradients_accept_them(tmp_path: Path) -> None:
    done = memory("matrix_factorisation(num_users=900, sparse=True)", "--format", "csv", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["optimizer"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert list(rows) == ["SGD", "SGD + momentum", "Adagrad", "SparseAdam"]
    per_table = 32 * 8 + 32 * 4 * 32, 32 * 8 + 32 * 4  # indices and values of factors and of biases
    assert {row["gradient_bytes"] for row in rows.values()} == {str(2 * sum(per_table))}
    assert [row["state_at_least"] for row in rows.values()] == ["False", "True", "False", "False"]
    assert (
        "after 60 steps, the state still grows with the rows of sparse gradients"
        in rows["SGD + momentum"]["note"]
    )


def test_the_table_fits_80_columns_and_states_its_conditions(tmp_path: Path) -> None:
    done = memory("mlp(hidden=[64])", "--optimizer", "adamw", "--optimizer", "sgd(momentum=0.9)", "--shape", "100",
                    "--classes", "4", "--batch-size", "7", folder=tmp_path)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = " ".join(done.stdout.split())
    assert "batch of 7 x 100, 4 classes, fp32" in text
    assert "2.00x" in text
    assert "implementation foreach" in text
    assert "not calibrated against a GPU: expect a peak of its allocator from 5 % below to 20 % above" in text


def test_markdown_has_whole_words(tmp_path: Path) -> None:
    done = memory("logistic_regression", "--optimizer", "adam", "--format", "markdown", folder=tmp_path)
    assert (
        "| optimizer | parameters | gradients | activations | state | x | step peak | x | total | x |"
        in done.stdout
    )


def test_json_has_every_byte(tmp_path: Path) -> None:
    done = memory("logistic_regression", "--optimizer", "adam", "--format", "json", folder=tmp_path)
    [row] = json.loads(done.stdout)["rows"]
    size = (3 * 32 * 32 + 1) * 10 * 4
    assert row["parameter_bytes"] == row["gradient_bytes"] == size
    assert row["state_bytes"] == 2 * size
    assert row["activation_bytes"] == 32 * 10 * 4
    assert row["measured_bytes"] is None
    assert math.isclose(row["total_over_parameters"], row["total_bytes"] / size)


SUITE = """
workload:
  model: {name: my_net.py:Net, width: 5}
  data: {name: synthetic, shape: [6], classes: 3, train: 96, validation: 32, test: 32}
  batch_size: 16
  budget: 2 epochs
seeds: 3
optimizers:
  Mine: {use: odd.py:Factored}
  Large: {use: adamw, batch_size: 32, weight_decay: 0.1}
"""
NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, in_features, num_classes, width):
        super().__init__(nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))
"""


@pytest.mark.parametrize("model", lookup.items("models"))
def test_every_model_of_the_catalog_is_estimated_for_its_task(model: str) -> None:
    named = named_trials(model, ["sgd"], {}, WorkloadSettings(batch_size=2))
    assert named.info.task == model_tasks(model, Path())[0]
    [row] = forecast(named.trials, named.info)
    assert not row.optimizer.problem
    assert row.model.activation_bytes


def test_the_task_of_a_model_can_be_set() -> None:
    named = named_trials("mlp", ["sgd"], {}, WorkloadSettings("regression", "7", 2))
    assert (named.info.task, named.info.shape, named.info.classes) == ("regression", (7,), 2)
    assert named.trials[0].workload.loss.name == "mse"


def test_a_suite_brings_its_workload_and_its_entries(plugins: Path) -> None:
    (plugins / "my_net.py").write_text(NET)
    (plugins / "suite.yaml").write_text(SUITE)
    done = memory("suite.yaml", "--format", "csv", "--set", "workload.model.width=9", folder=plugins)
    assert (done.returncode, done.stderr) == (0, "")
    mine, large = csv.DictReader(io.StringIO(done.stdout))
    assert (mine["optimizer"], mine["batch_size"], mine["precision"]) == ("Mine", "16", "bf16")
    assert int(float(mine["state_bytes"])) == 4 * ((6 + 9) + (9 + 3))
    assert (large["batch_size"], float(large["state_over_parameters"])) == ("32", 2)


def test_a_suite_without_its_data_needs_shape_and_classes(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(
        SUITE.replace("my_net.py:Net, width: 5", "mlp").replace("{name: synthetic, shape: [6], classes: 3, train: 96, "
        "validation: 32, test: 32}", "{name: image_folder, path: nowhere}").replace("odd.py:Factored", "sgd")
    )  # fmt: skip
    alone = memory("suite.yaml", folder=tmp_path)
    assert alone.returncode == 2
    assert "to estimate without the data set, pass both --shape and --classes" in alone.stderr
    assert memory("suite.yaml", "--shape", "6", "--classes", "3", folder=tmp_path).returncode == 0


def test_an_optimizer_that_cannot_step_is_a_warning_and_exit_code_1(tmp_path: Path) -> None:
    done = memory("small_cnn", "--optimizer", "muon", "--optimizer", "sgd", folder=tmp_path)
    assert done.returncode == 1
    assert "! muon: 'muon' accepts matrices only; 10 of 11 parameter tensors are not" in " ".join(
        done.stdout.split()
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet21"], "MODEL: unknown model 'resnet21'; did you mean 'resnet20'?"),
        (["mlp(hiden=[3])"], "MODEL: 'mlp' has no argument 'hiden'; did you mean 'hidden'?"),
        (["resnet20", "--optimizer", "adamv"], "--optimizer adamv: unknown optimizer 'adamv'; did you mean 'adam"),
        (["resnet20", "--optimizer", "sgd(momentun=1)"], "'sgd' has no argument 'momentun'; did you mean 'momentum'?"),
        (["resnet20", "--optimizer", "sgd(lr='x')"], "expected a number"),
        (["resnet20", "--optimizer", "sgd(0.1)"], "an argument without a name"),
        (["resnet20", "--shape", "3,224"], "--shape: task classification: expected C,H,W"),
        (["resnet20", "--shape", "3,a"], "--shape: expected one to three whole numbers"),
        (["gpt", "--shape", "1,2"], "--shape: task language: expected 1 number"),
        (["matrix_factorisation", "--shape", "3"], "--shape: models of task recommendation do not have this size"),
        (["gpt", "--task", "lang"], "--task: unknown task 'lang'; did you mean 'language'?"),
        (["digits", "--task", "language"], "--task: not allowed with a suite"),
        (["small_cnn", "--shape", "20"], "small_cnn needs images (channels, height, width)"),
        (["resnet20", "--format", "pdf"], "unknown format 'pdf'"),
        (["resnet20", "--optimizer", "sgd", "--check"], "--check: requires an NVIDIA GPU"),
        (["digits", "--optimizer", "sgd"], "--optimizer: not allowed with a suite"),
        (["nowhere.yaml"], "no suite"),
    ],
)  # fmt: skip
def test_mistakes_end_with_their_place_and_exit_code_2(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = memory(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
