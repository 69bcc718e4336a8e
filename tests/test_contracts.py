"""Contracts of all items of the catalog and of all figures, formats and readers: a new file is tested without a change here."""

from __future__ import annotations

import ast
import inspect
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from optbench.catalog.data_sets import describe_data, load_data
from optbench.catalog.lookup import FAMILIES, items, load, names, resolve
from optbench.catalog.metric_contract import metric_problems
from optbench.catalog.sources import constants
from optbench.catalog.task_types import task_module
from optbench.catalog.types import DataInfo, Splits
from optbench.cli.completion import format_names
from optbench.engine.batch import Batch, Random, call, example_batch
from optbench.engine.models import build_model
from optbench.engine.tasks import build_loss
from optbench.errors import OptbenchError
from optbench.exporting import known_tools
from optbench.importing.readers import known_readers
from optbench.report.figures import known_figures
from optbench.report.figures._groups import Material
from optbench.store import Results
from optbench.suite.types import Component

SOURCE = Path(__file__).resolve().parents[1] / "src" / "optbench"
EVERYTHING = [(family, name) for family in FAMILIES for name in items(family)]
#: batches on which losses and models are tried, one per task and shape of inputs
INFOS = {
    task: DataInfo(9, 9, 9, shape, 4, task=task, facts=facts)
    for task, shape, facts in [
        ("classification", (1, 32, 32), {}),
        ("regression", (6,), {}),
        ("forecasting", (12, 4), {}),
        ("language", (8,), {}),
        ("recommendation", (), {"num_users": 5, "num_items": 7, "mean_rating": 3.0}),
        ("ranking", (), {"num_users": 5, "num_items": 7, "mean_rating": 3.0}),
        ("autoencoding", (6,), {}),
        ("minimisation", (2,), {}),
    ]
}


def module_of(family: str, name: str) -> Any:
    return load(resolve(family, name))


def batch_of(task: str, samples: int = 6) -> Batch:
    return example_batch(task_module(task), INFOS[task], samples, Random())


def required(function: Any) -> list[str]:
    """Return the names of arguments without a default."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]


def outputs_of(task: str) -> list[Any]:
    """Return the outputs of every model of the catalog that fits the task."""
    found = []
    for name in items("models"):
        try:
            model = build_model(Component(name=name), INFOS[task], ".")
        except OptbenchError:
            continue
        found.append(call(model.eval(), batch_of(task).inputs))
    return found


@pytest.mark.parametrize(("family", "name"), EVERYTHING)
def test_an_item_has_a_description_and_provides_the_function_of_its_family(family: str, name: str) -> None:
    description, function = names(family)[name], FAMILIES[family][1]
    assert len(description) > 10, "the first line of the docstring is shown by `optbench list`"
    assert "\n" not in description
    module = module_of(family, name)
    if family == "metrics":
        assert hasattr(module, "total") or hasattr(module, "Accumulator")
    elif function:
        assert callable(getattr(module, function))


@pytest.mark.parametrize("name", items("data"))
def test_a_data_set_is_described_as_it_is_loaded_or_states_what_is_missing(name: str, tmp_path: Path) -> None:
    module = module_of("data", name)
    if "path" in required(module.load):
        arguments = dict.fromkeys(required(module.load)[1:], "nowhere")
        with pytest.raises(OptbenchError, match="nowhere"):
            load_data(Component(name=name, arguments=arguments), tmp_path)
        return
    missing = ""
    try:
        splits = load_data(Component(name=name), tmp_path)
    except OptbenchError as error:
        missing = str(error)
    if missing:  # it needs a file or a package that is not here
        assert any(word in missing for word in ("pip install", "place", "download", str(tmp_path)))
        return
    assert isinstance(splits, Splits)
    assert describe_data(Component(name=name), tmp_path) == splits.info
    sizes = (splits.info.train, splits.info.validation, splits.info.test)
    assert sizes == (splits.train.samples, splits.validation.samples, splits.test.samples)
    assert splits.info.task in items("tasks")
    assert splits.info.task == constants(items("data")[name]).get("TASK", splits.info.task)


@pytest.mark.parametrize("name", items("models"))
def test_a_model_fits_a_task_and_learns_from_all_of_its_parameters(name: str) -> None:
    fitting = []
    for task, info in INFOS.items():
        try:
            model = build_model(Component(name=name), info, ".")
        except OptbenchError:
            continue
        batch = batch_of(task)
        outputs = call(model, batch.inputs)
        if not task_module(task).outputs_problem(outputs, batch.samples, info) and task_module(task).LOSS:
            loss = build_loss(Component(name=task_module(task).LOSS), ".")(outputs, batch.targets)
            loss.backward()
            missing = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert missing == []
            assert math.isfinite(float(loss.detach()))
            fitting.append(task)
    assert fitting, "no task of the catalog fits the model"


@pytest.mark.parametrize("name", items("losses"))
def test_a_loss_is_a_finite_scalar_for_a_model_of_some_task(name: str) -> None:
    tasks = [task for task in INFOS if name == task_module(task).LOSS] or ["regression"]
    loss = build_loss(Component(name=name), ".")
    for task in tasks:
        for outputs in outputs_of(task)[:2]:
            value = loss(outputs, batch_of(task).targets)
            assert value.shape == ()
            assert math.isfinite(float(value.detach()))


@pytest.mark.parametrize("name", items("metrics"))
def test_a_metric_adds_up_over_batches_and_stays_in_its_range(name: str) -> None:
    tasks = [task for task in INFOS if name in task_module(task).METRICS]
    if not tasks or "classification" in tasks:
        info = INFOS["classification"] if "classification" in tasks else None
        assert list(metric_problems(name, Path(), info)) == []
        return
    module = module_of("metrics", name)
    assert isinstance(module.HIGHER_IS_BETTER, bool)
    for task in tasks:
        assert list(metric_problems(name, Path(), INFOS[task])) == []


@pytest.mark.parametrize("name", items("initialisations"))
def test_an_initialisation_is_finite_and_repeats_with_the_seed(name: str) -> None:
    def filled(shape: tuple[int, ...]) -> torch.Tensor:
        torch.manual_seed(1)
        weight = nn.Parameter(torch.full(shape, 7.0))
        with torch.no_grad():
            module_of("initialisations", name).fill(weight)
        return weight.detach()

    for shape in ((8, 6), (4, 3, 3, 3)):
        assert filled(shape).isfinite().all()
        assert torch.equal(filled(shape), filled(shape))
        assert name == "model" or (filled(shape) != 7.0).any()


@pytest.mark.parametrize("name", items("schedules"))
def test_a_schedule_gives_finite_multipliers_of_at_most_one(name: str) -> None:
    module = module_of("schedules", name)
    observed = {"observed": [1.0, 0.9]} if "observed" in required(module.multiplier) else {}
    for steps in (1, 2, 100):
        values = [module.multiplier(step, steps, **observed) for step in range(steps)]
        assert all(0 <= value <= 1 for value in values), values
    assert set(getattr(module, "RANGES", {})) <= set(inspect.signature(module.multiplier).parameters)


@pytest.mark.parametrize("name", items("optimizers"))
def test_an_optimizer_of_the_catalog_states_its_class_and_where_to_begin(name: str) -> None:
    facts = constants(items("optimizers")[name])
    assert isinstance(facts["USE"], str)
    assert issubclass(load(resolve("optimizers", name)), torch.optim.Optimizer)
    assert isinstance(facts.get("STARTER", {}), dict)


@pytest.mark.parametrize("name", known_figures())
def test_a_figure_yields_nothing_without_results(name: str) -> None:
    module = import_module(f"optbench.report.figures.{name}")
    assert ast.get_docstring(ast.parse(inspect.getsource(module)))
    try:
        drawn = list(module.drawings(Material(Results(()), pd.DataFrame(), None)))
    except KeyError as error:  # columns of an empty frame
        pytest.fail(f"{name} needs column {error}")
    assert drawn == []


@pytest.mark.parametrize(
    ("folder", "known"),
    [
        (
            "report/formats",
            {name: import_module(f"optbench.report.formats.{name}").__doc__ for name in format_names()},
        ),
        ("exporting", known_tools()),
        ("importing/readers", known_readers()),
    ],
    ids=["formats", "exporters", "readers"],
)
def test_every_file_of_a_folder_is_an_item_with_a_description(folder: str, known: dict[str, str]) -> None:
    files = {file.stem for file in (SOURCE / folder).glob("*.py") if not file.stem.startswith("_")}
    assert set(known) == files
    assert all(len(description) > 10 for description in known.values())
