"""Each technique of training means what it says: initialisation, rates that follow the batch size, full batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from optbench.catalog.check import problems
from optbench.catalog.lookup import names
from optbench.engine.session import Session, prepare
from optbench.errors import OptbenchError
from optbench.suite.load import load
from trials import CPU, TINY, evaluations, finished, run, started, trials


def session(folder: Path, **changes: Any) -> Session:
    return prepare(trials(folder, **changes)[0], CPU, folder)


WIDE = {"model": {"name": "mlp", "hidden": [200, 200]}, "data": {**TINY["workload"]["data"], "shape": [300]}}


def first_layer(folder: Path, init: Any) -> torch.Tensor:
    """(200, 300)"""
    weights = dict(session(folder, workload=WIDE, init=init).model.named_parameters())
    assert not torch.cat([w for name, w in weights.items() if name.endswith("bias")]).any()
    return next(w.detach() for w in weights.values() if w.shape == (200, 300))


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("xavier_uniform", 2 / 500),
        ("xavier_normal", 2 / 500),
        ({"name": "xavier_normal", "gain": 2.0}, 8 / 500),
        ("he_uniform", 2 / 300),
        ("he_normal", 2 / 300),
        ({"name": "he_normal", "fan": "out"}, 2 / 200),
        ("small_normal", 1e-4),
        ({"name": "small_normal", "std": 0.1}, 1e-2),
    ],
)
def test_initial_weights_have_the_variance_of_their_rule(init: Any, variance: float, tmp_path: Path) -> None:
    weight = first_layer(tmp_path, init)
    assert float(weight.var()) == pytest.approx(variance, rel=0.03)
    bound = (3 * variance) ** 0.5  # of a uniform distribution
    assert (float(weight.abs().max()) <= bound) is ("uniform" in str(init))


def test_orthogonal_weights_have_rows_of_length_1_at_right_angles(tmp_path: Path) -> None:
    weight = first_layer(tmp_path, "orthogonal").double()
    assert (weight @ weight.T - torch.eye(200)).abs().max() < 1e-5


def test_every_rule_of_the_catalog_is_the_same_for_all_optimizers_of_a_seed(tmp_path: Path) -> None:
    entries = {"A": {"use": "sgd", "lr": 0.1}, "B": {"use": "adam"}}
    seen = set()
    for init in names("initialisations"):
        a, b = (prepare(trial, CPU, tmp_path) for trial in trials(tmp_path, init=init, optimizers=entries))
        assert a.initial_weights == b.initial_weights
        seen.add(a.initial_weights)
    assert len(seen) == len(names("initialisations")) == 7


def test_norms_and_embeddings_stay_as_the_model_made_them(tmp_path: Path) -> None:
    workload = {"model": "vit_tiny", "data": {**TINY["workload"]["data"], "shape": [3, 32, 32]}}
    own, other = (
        dict(session(tmp_path, workload=workload, init=i).model.named_parameters())
        for i in ("model", "orthogonal")
    )
    changed = {name for name in own if not torch.equal(own[name], other[name])}
    assert any(name.endswith("weight") for name in changed)
    assert not any("norm" in name or "embed" in name for name in changed if own[name].dim() == 1)


def test_a_workloads_own_rule_wins_and_is_recorded(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, init="orthogonal", workload={"init": "he_normal"})
    assert trial.workload.init is not None
    assert trial.workload.init.name == "he_normal"
    (shared,) = trials(tmp_path, init="orthogonal")
    assert shared.workload.init is not None
    assert shared.workload.init.name == "orthogonal"
    (own,) = trials(tmp_path)
    assert own.workload.init is None
    assert len({trial.id, shared.id, own.id}) == 3


def test_a_rule_of_ones_own_is_a_function_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def fill(weight, *, value=1.0):\n    weight.fill_(value)\n")
    model = session(tmp_path, init={"name": "mine.py:fill", "value": 0.25}).model
    assert all((w == 0.25).all() for w in model.parameters() if w.dim() == 2)


SCALED = {"base": 0.1, "per_batch": 64, "rule": "linear"}


@pytest.mark.parametrize(
    ("rate", "batch", "expected"),
    [
        (SCALED, 16, 0.025),
        (SCALED, 64, 0.1),
        ({"base": 0.1, "per_batch": 64}, 32, 0.05),
        ({**SCALED, "rule": "sqrt"}, 16, 0.05),
        (SCALED, "full", 0.15),
        ({**SCALED, "rule": "sqrt"}, "full", 0.1 * 1.5**0.5),
    ],
)
def test_a_scaled_rate_follows_the_batch_size(rate: Any, batch: Any, expected: float, tmp_path: Path) -> None:
    (trial,) = trials(
        tmp_path,
        optimizers={"A": {"use": "sgd", "lr": rate}},
        workload={"batch_size": batch, "budget": "1 epoch"},
    )
    events = run(trial, tmp_path)
    assert started(events).hyperparameters[0]["lr"] == pytest.approx(expected)
    assert evaluations(events)[-1].learning_rate == pytest.approx(expected)


def test_an_entrys_own_batch_size_scales_its_rate(tmp_path: Path) -> None:
    entries = {"A": {"use": "sgd", "lr": SCALED}, "B": {"use": "sgd", "lr": SCALED, "batch_size": 32}}
    a, b = trials(tmp_path, optimizers=entries)
    assert (a.entry.rules[0].arguments["lr"], b.entry.rules[0].arguments["lr"]) == (0.025, 0.05)


def test_factors_of_a_sweep_go_round_the_scaled_rate(tmp_path: Path) -> None:
    made = trials(tmp_path, optimizers={"A": {"use": "sgd", "lr": SCALED}}, sensitivity={"lr": [0.5, 1, 2]})
    assert sorted(trial.point["lr"] for trial in made if trial.point) == pytest.approx([0.0125, 0.05])


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ({"base": 0.1}, "for 'per_batch'"),
        ({**SCALED, "rule": "cubic"}, "expected the rule linear or sqrt; found 'cubic'"),
        ({**SCALED, "bass": 1}, "did you mean 'base'?"),
        ({**SCALED, "base": -1}, "expected a number above 0 for 'base'"),
    ],
)
def test_check_explains_a_wrong_scaling(rate: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump({**TINY, "optimizers": {"A": {"use": "sgd", "lr": rate}}}))
    (found,) = problems(load(path), tmp_path)
    assert message in str(found)
    assert found.where == "optimizers.A.lr"


def test_a_full_batch_is_the_whole_training_split_and_an_epoch_is_one_step(tmp_path: Path) -> None:
    (trial,) = trials(tmp_path, workload={"batch_size": "full", "budget": "4 epochs"})
    events = run(trial, tmp_path)
    assert finished(events).step == 4
    assert [event.samples for event in evaluations(events)] == [96, 192, 288, 384]
    assert started(events).steps_per_epoch == 1


def test_batch_gradient_descent_falls_at_every_step(tmp_path: Path) -> None:
    entry = {"A": {"use": "sgd", "lr": 0.05}}
    (trial,) = trials(tmp_path, optimizers=entry, workload={"batch_size": "full", "budget": "20 epochs"})
    losses = [event.train_loss for event in evaluations(run(trial, tmp_path))]
    assert all(later < before for before, later in pairwise(losses))


def test_a_wrong_batch_size_is_explained(tmp_path: Path) -> None:
    for found, words in ((0, "found 0"), ("half", "or 'full'; found 'half'"), (True, "found true")):
        with pytest.raises(OptbenchError, match="expected a whole number of at least 1") as caught:
            trials(tmp_path, workload={"batch_size": found})
        assert words in str(caught.value)
