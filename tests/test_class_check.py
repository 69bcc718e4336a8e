"""Optimizers as they are found in single files: what `check` finds by importing them and taking a few steps, and how they run."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import yaml

from optbench.catalog.rate_notes import rate_notes
from optbench.report import render
from optbench.runner import class_check
from optbench.store import read
from optbench.suite.load import load
from optbench.verify.step_check import result_of
from program import Done, optbench
from results_builder import a_suite, reaching, started, trials_of, write_trials
from trials import TINY

HEAD = "import torch\nfrom torch.optim import Optimizer\n\n"
SIGN = """
    @torch.no_grad()
    def {signature}:
        {before}
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_({rate} * p.grad.sign())
        {after}
"""


def optimizer(
    name: str,
    arguments: str = "params, lr=1e-3",
    signature: str = "step(self, closure=None)",
    before: str = "loss = closure() if closure is not None else None",
    rate: str = 'group["lr"]',
    after: str = "return loss",
    base: str = "Optimizer",
) -> str:
    init = f"class {name}({base}):\n    def __init__(self, {arguments}):\n        super().__init__(params, dict(lr=lr))\n"
    return HEAD + init + SIGN.format(signature=signature, before=before, rate=rate, after=after)


WORKING = {
    "plain.py": optimizer("Plain"),
    "with_closure.py": optimizer(
        "NeedsClosure",
        signature="step(self, closure)",
        before="with torch.enable_grad():\n            loss = closure()",
    ),
    "with_loss.py": optimizer(
        "NeedsLoss",
        signature="step(self, loss)",
        before="size = min(1.0, float(loss))",
        rate='size * group["lr"]',
        after="return loss",
    ),
    "required.py": optimizer("Required", "params, lr, rank", before="loss = None"),
    "rate_free.py": optimizer("RateFree", "params, lr=1.0, d0=1e-6", rate='group["lr"] * 1e-3'),
    "rate_fixed.py": optimizer("RateFixed", rate="1e-3"),
    "prints.py": "print('loaded!')\n" + optimizer("Prints"),
    "matrices.py": HEAD + "class Matrices(torch.optim.Muon):\n    pass\n",
}
SUBCLASS = "import torch\nclass {}(torch.optim.SGD): pass\n"
NO_OPTIMIZER = "class NoOptimizer:\n    def __init__(self, params, lr=0.1):\n        pass\n"
NO_PARAMETERS = optimizer("Wrong", "lr=1e-3").replace("__init__(params", "__init__([]")
BROKEN = {
    "raises.py": (
        "raise RuntimeError('needs a GPU')\n" + SUBCLASS.format("Raises"),
        "Raises",
        "raises.py, line 1: fails when imported: RuntimeError: needs a GPU",
    ),
    "exits.py": (
        "import sys\nsys.exit('bye')\n" + SUBCLASS.format("Exits"),
        "Exits",
        "fails when imported: SystemExit: bye",
    ),
    "dies.py": (
        "import os\nos._exit(3)\n" + SUBCLASS.format("Dies"),
        "Dies",
        "ended the process with exit code 3",
    ),
    "no_class.py": (
        NO_OPTIMIZER,
        "NoOptimizer",
        "expected a torch.optim.Optimizer",
    ),
    "signature.py": (
        NO_PARAMETERS,
        "Wrong",
        "empty parameter list",
    ),
}


def suite(folder: Path, optimizers: dict[str, dict[str, object]], **more: object) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "optimizers": optimizers, **more}, sort_keys=False))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in WORKING.items() | {(name, text) for name, (text, _, _) in BROKEN.items()}:
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check classes without a process of their own, which loads torch for seconds."""
    monkeypatch.setattr(class_check, "_lines", lambda jobs: map(result_of, jobs))


def entries() -> dict[str, dict[str, object]]:
    names = {name: text.rpartition("class ")[2].partition("(")[0] for name, text in WORKING.items()}
    found: dict[str, dict[str, object]] = {label: {"use": f"{file}:{label}"} for file, label in names.items()}
    found["Required"] |= {"lr": 0.01, "rank": 4}
    return found


def words(done: Done) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_check_reports_what_steps_with_single_files_show(folder: Path) -> None:
    path = suite(folder, entries(), schedule="cosine")
    done = optbench("check", path, cwd=folder)
    assert done.returncode == 0, done.stderr
    said = words(done)
    assert "loaded!" not in said
    assert "RateFree: learning-rate-free: starts at lr 1, a factor of the step size" in said
    assert "RateFixed: a learning rate changed between steps has no effect" in said
    assert "Matrices: accepts matrices only: for a model with other parameters, use rules" in said
    assert said.count("note:") == 3
    assert "note" not in words(
        optbench("check", suite(folder, {"Plain": entries()["Plain"]}), "--static", cwd=folder)
    )


def test_check_lists_every_class_that_cannot_be_used_with_its_line(folder: Path) -> None:
    labels = {label: {"use": f"{file}:{label}"} for file, (_, label, _) in BROKEN.items()}
    path = suite(folder, {"Plain": entries()["Plain"], **labels})
    done = optbench("check", path, cwd=folder)
    assert done.returncode == 2
    for _, _, message in BROKEN.values():
        assert message in words(done)
    assert done.stderr.count("tiny.yaml:") == len(BROKEN)
    assert "Traceback" not in done.stderr
    assert "Plain" not in done.stderr


FLAGGED = (
    HEAD
    + """
class Flagged(Optimizer):
    def __init__(self, groups):
        for group in groups:
            assert "use_sign" in group
        super().__init__(groups, dict(lr=0.1))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.sign() if group["use_sign"] else p.grad, alpha=group["lr"])
"""
)
#: differentiates gradients in a function of its module
CURVATURE = """
import torch

def curvature(ps):
    return torch.autograd.grad([p.grad for p in ps], ps, grad_outputs=[torch.ones_like(p) for p in ps])

class Curvature(torch.optim.SGD):
    def step(self, closure=None):
        curvature([p for group in self.param_groups for p in group["params"]])
        return super().step(closure)
"""
ABSTRACT = """
import abc
import torch

class Abstract(torch.optim.SGD, abc.ABC):
    @abc.abstractmethod
    def direction(self): ...
"""


@pytest.mark.usefixtures("in_this_process")
def test_check_reports_classes_that_cannot_be_used_next_to_other_problems(folder: Path) -> None:
    (folder / "abstract.py").write_text(ABSTRACT)
    labels = {
        "Misspelt": {"use": "plain.py:Plan"},
        "Raises": {"use": "raises.py:Raises"},
        "Abstract": {"use": "abstract.py:Abstract"},
        "Argument": {"use": "plain.py:Plain", "lrr": 1},
    }
    workload = {**TINY["workload"], "model": "mlpp"}
    done = optbench("check", suite(folder, labels, seedz=1, workload=workload), cwd=folder)
    assert done.returncode == 2
    said = words(done)
    for message in (
        "did you mean 'Plain'?",
        "needs a GPU",
        "'abstract.py:Abstract' is an abstract class; expected a subclass that implements direction()",
        "has no argument 'lrr'",
        "seedz",
        "unknown model 'mlpp'",
    ):
        assert message in said
    assert "6 problems" in said
    places = [line.partition("optimizers.")[2].partition(".")[0] for line in done.stderr.splitlines()]
    assert [label for label in labels if label in places] == [place for place in places if place in labels]


@pytest.mark.usefixtures("in_this_process")
def test_a_static_check_imports_no_class(folder: Path, monkeypatch) -> None:
    (folder / "exiting_package.py").write_text("import sys\nsys.exit('needs a GPU')\n")
    monkeypatch.syspath_prepend(str(folder))
    path = suite(folder, {"Exits": {"use": "exiting_package.Adam"}})
    done = optbench("check", path, "--static", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = optbench("check", path, cwd=folder)
    assert done.returncode == 2
    assert "needs a GPU" in words(done)


def test_check_reports_the_settings_and_groups_without_which_a_run_fails(folder: Path, monkeypatch) -> None:
    (folder / "curvature.py").write_text(CURVATURE)
    (folder / "flagged.py").write_text(FLAGGED)
    (folder / "packages" / "muon").mkdir(parents=True)
    (folder / "packages" / "muon" / "__init__.py").write_text(FLAGGED)
    groups = [{"parameters": "matrices", "use_sign": True}, {"parameters": "rest", "use_sign": False}]
    labels: dict[str, dict[str, object]] = {
        "Curvature": {"use": "curvature.py:Curvature"},
        "Flagged": {"use": "flagged.py:Flagged"},
        "Measured": {"use": "muon.Flagged"},
        "With graph": {"use": "curvature.py:Curvature", "create_graph": True},
        "With groups": {"use": "flagged.py:Flagged", "groups": groups},
    }
    monkeypatch.syspath_prepend(str(folder / "packages"))
    monkeypatch.setenv("PYTHONPATH", str(folder / "packages"), prepend=os.pathsep)
    done = optbench("check", suite(folder, labels), cwd=folder)
    assert done.returncode == 2
    said = words(done)
    assert "It works on a toy problem with `create_graph: true`: set this in the entry" in said
    for use in ("flagged.py:Flagged", "muon.Flagged"):
        assert (
            f"'{use}' requires parameter groups with 'use_sign'. Add to the entry: `groups: [{{parameters:"
            in said
        )
    assert done.stderr.count("tiny.yaml:") == 3


def test_a_class_that_does_not_finish_ends_the_check_of_this_class_only(folder: Path, monkeypatch) -> None:
    (folder / "hangs.py").write_text(
        "import pathlib, signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "pathlib.Path(__file__).with_name('hangs').touch()\ntime.sleep(600)\n"
    )

    class Timer(threading.Timer):
        """Its time is over when the class hangs, and for no other class."""

        def run(self) -> None:
            while not self.finished.wait(0.05):
                if (folder / "hangs").exists():
                    (folder / "hangs").unlink()
                    return self.function(*self.args)

    monkeypatch.setattr(class_check.threading, "Timer", Timer)
    with (folder / "hangs.py").open("a") as file:
        file.write(SUBCLASS.format("Hangs"))
    path = suite(folder, {"Hangs": {"use": "hangs.py:Hangs"}, "Plain": entries()["Plain"]})
    done = optbench("check", path, cwd=folder)
    assert done.returncode == 2
    assert f"not finished after {class_check.SECONDS} s" in words(done)
    assert done.stderr.count("tiny.yaml:") == 1


def test_check_compiles_no_step(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("TORCHDYNAMO_DISABLE", raising=False)
    code = optimizer(
        "Compiled", before="import os; assert os.environ['TORCHDYNAMO_DISABLE'] == '1'; loss = None"
    )
    (tmp_path / "compiled.py").write_text(code)
    path = suite(tmp_path, {"A": {"use": "compiled.py:Compiled"}})
    assert optbench("check", path, cwd=tmp_path).returncode == 0


def test_classes_of_torch_are_checked_without_a_process(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(class_check, "_lines", None)
    path = suite(tmp_path, {"Muon": {"use": "torch.optim.Muon"}, "SGD": {"use": "sgd", "lr": 0.1}})
    done = optbench("check", path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: Muon: 'torch.optim.Muon' accepts matrices only" in words(done)


@pytest.mark.usefixtures("in_this_process")
def test_check_refuses_classes_that_do_not_accept_the_sparse_gradients_of_the_model(tmp_path: Path) -> None:
    workload = {
        "model": {"name": "matrix_factorisation", "factors": 2, "sparse": True},
        "data": {"name": "synthetic_ratings", "users": 20, "items": 50, "ratings": 600},
        "batch_size": 16,
        "budget": "1 step",
    }
    (tmp_path / "dense.py").write_text(SUBCLASS.format("Dense").replace("SGD", "Adam"))
    (tmp_path / "plain.py").write_text(WORKING["plain.py"])
    embeddings, rest = {"parameters": "embeddings"}, {"parameters": "rest", "use": "adamw"}
    good: dict[str, dict[str, object]] = {
        "SGD": {"use": "sgd", "lr": 0.1},
        "SparseAdam": {"use": "torch.optim.SparseAdam"},
        "Both": {"use": [{**embeddings, "use": "torch.optim.SparseAdam"}, rest]},
        "Exempt": {"use": "adagrad", "weight_decay": 0.1, "no_weight_decay": "embeddings"},
        "Plain": {"use": "plain.py:Plain"},
        "By name": {"use": [{"parameters": "users.*", "use": "torch.optim.SparseAdam"}, rest]},
    }
    bad: dict[str, dict[str, object]] = {
        "Adam": {"use": "adam"},
        "Decayed": {"use": "adagrad", "weight_decay": 0.1},
        "First": {"use": [{"parameters": "matrices", "use": "muon"}, rest]},
        "Dense": {"use": "dense.py:Dense"},
    }
    done = optbench("check", suite(tmp_path, {**good, **bad}, workload=workload), cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    said = words(done)
    assert (
        "does not accept the sparse gradients of the model's embeddings: a step raises RuntimeError" in said
    )
    assert "expected another class, such as torch.optim.SparseAdam for `parameters: embeddings`" in said
    assert (
        "expected `weight_decay: 0`, `no_weight_decay: embeddings`, or embeddings with `sparse: false`"
        in said
    )
    assert [label for label in (*good, *bad) if f"optimizers.{label}" in said] == list(bad)
    dense = {**workload, "model": {"name": "matrix_factorisation", "factors": 2}}
    done = optbench("check", suite(tmp_path, bad, workload=dense), cwd=tmp_path)
    assert "sparse gradients" not in words(done)


OWN_TABLES = """
from torch import nn

TASKS = ("recommendation",)

def table(rows):
    return nn.Embedding(rows, 4, sparse=True)

class Sparse(nn.Module):
    def __init__(self, num_users, num_items):
        super().__init__()
        self.users, self.items = table(num_users), table(num_items)

    def forward(self, user, item):
        return (self.users(user) * self.items(item)).sum(1)

class Dense(nn.Module):
    def __init__(self, num_users, num_items):
        super().__init__()
        self.users, self.items = nn.Embedding(num_users, 4), nn.Embedding(num_items, 4)

    forward = lambda self, user, item: (self.users(user) * self.items(item)).sum(1)

def build(num_users, num_items):
    return Sparse(num_users, num_items)
"""


@pytest.mark.parametrize(("model", "is_sparse"), [("Sparse", True), ("", True), ("Dense", False)])
def test_check_finds_sparse_embeddings_that_the_file_of_a_model_creates(
    model: str, is_sparse: bool, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN_TABLES)
    workload = {
        "model": f"own.py:{model}" if model else "own.py",
        "data": {"name": "synthetic_ratings", "users": 20, "items": 50, "ratings": 600},
        "batch_size": 16,
        "budget": "1 step",
    }
    path = suite(tmp_path, {"Adam": {"use": "adam"}, "SGD": {"use": "sgd", "lr": 0.1}}, workload=workload)
    done = optbench("check", path, cwd=tmp_path)
    expected = "optimizers.Adam.use: does not accept the sparse gradients of the model's embeddings"
    assert (done.returncode, expected in words(done)) == ((2, True) if is_sparse else (0, False)), words(done)


def test_single_files_run_and_broken_ones_fail_with_their_reason(folder: Path) -> None:
    broken = {
        label: {"use": f"{file}:{label}"}
        for file, (_, label, _) in BROKEN.items()
        if label in ("Raises", "Exits")
    }
    working = {label: entry for label, entry in entries().items() if label != "Matrices"}
    path = suite(folder, {**working, **broken}, schedule="cosine")
    done = optbench("run", path, "--threads", "1", "--reruns", "0", cwd=folder, OPTBENCH_FIGURES="off")
    assert done.returncode == 1, done.stderr
    by_label = {log.trial["label"]: log for log in read([folder / "results/tiny"]).suites[0].logs}
    assert {
        label for label, log in by_label.items() if log.finished and log.finished.status == "failed"
    } == set(broken)
    for label, message in {"Raises": "needs a GPU", "Exits": "bye"}.items():
        finished = by_label[label].finished
        assert finished is not None
        assert message in finished.detail
    notes = {label: log.started.rate_note for label, log in by_label.items() if log.started is not None}
    assert {label for label, note in notes.items() if note} == {"RateFixed"}
    report = " ".join((folder / "results/tiny/report.md").read_text().split())
    assert (
        "RateFixed: steps do not depend on the learning rate: the schedule 'cosine' has no effect" in report
    )
    assert "RateFree: learning-rate-free: starts at lr 1" in report


def test_notes_of_the_catalog_name_schedules_without_effect(tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "packages" / "pytorch_optimizer"
    package.mkdir(parents=True)
    classes = ("AdaFactor", "Ranger21", "ScheduleFreeSGD", "AdamG")
    arguments = {"AdaFactor": ", relative_step=True", "ScheduleFreeSGD": ", weight_lr_power=2.0"}
    (package / "__init__.py").write_text(
        HEAD
        + "".join(
            f"class {c}(Optimizer):\n    def __init__(self, params, lr=1.0{arguments.get(c, '')}): pass\n"
            for c in classes
        )
    )
    monkeypatch.syspath_prepend(str(package.parent))
    uses: dict[str, dict[str, object]] = {c: {"use": f"pytorch_optimizer.{c}"} for c in classes}
    uses["AdamG at 0.5"] = {**uses["AdamG"], "lr": 0.5}
    uses["AdaFactor with rates"] = {**uses["AdaFactor"], "relative_step": False}
    notes = rate_notes(load(suite(tmp_path, uses, schedule="cosine")))
    assert notes == [
        "AdaFactor: ignores changes of its learning rate without `relative_step: false`: the schedule 'cosine' has no effect on it",
        "Ranger21: has a warmup and a decay of its own: the schedule 'cosine' is added to it; `schedule: constant` does not change its own",
        "ScheduleFreeSGD: averages the weights in place of a schedule: the schedule 'cosine' is added to it; "
        "`schedule: constant` does not change its own",
        "AdamG: learning-rate-free: starts at lr 1, a factor of the step size that the class estimates",
        "AdamG at 0.5: learning-rate-free: lr is a factor of the step size that the class estimates",
    ]
    assert [note.partition(":")[0] for note in rate_notes(load(suite(tmp_path, uses)))] == [
        "AdamG",
        "AdamG at 0.5",
    ]


def test_the_report_shows_notes_of_the_plan_and_of_trials(tmp_path: Path) -> None:
    plan = a_suite()
    trials = trials_of(plan)
    events = {
        trial.id: [started(rate_note="no effect here"), *reaching(3)[1:]]
        for trial in trials
        if trial.label == "SGD"
    }
    folder = write_trials(tmp_path, plan, trials, events, provenance={"notes": ["Adam: a note of the plan"]})
    text = render(read([folder.path]), "markdown")
    assert "Adam: a note of the plan" in text
    assert "SGD: no effect here" in text
