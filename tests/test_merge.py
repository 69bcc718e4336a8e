"""`optbench merge`: results of several machines in one folder, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from optbench.cli.app import app
from optbench.errors import OptbenchError
from optbench.events import Event, Started
from optbench.report import render
from optbench.store import SuiteFolder, read
from optbench.suite.types import Optimizer, Rule
from results_builder import a_suite, reaching, started, write


def trial(seed: int, **environment: Any) -> list[Event]:
    first = started(initial_weights=f"w{seed}")
    first = replace(first, environment={**first.environment, **environment})
    return [first if isinstance(event, Started) else event for event in reaching(3 + seed % 4)]


def machine(root: Path, seeds: tuple[int, ...], **environment: Any) -> Path:
    suite = a_suite(seeds=1).model_copy(update={"seeds": seeds})
    write(root, suite, {(label, s): trial(s, **environment) for label in suite.optimizers for s in seeds})
    return root


def merge(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["merge", *map(str, arguments)], catch_exceptions=False)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_report_of_merged_folders_is_that_of_a_single_run(tmp_path: Path) -> None:
    a, b = machine(tmp_path / "a", (0, 1, 2)), machine(tmp_path / "b", (3, 4))
    whole = machine(tmp_path / "whole", (0, 1, 2, 3, 4))
    before = content(a), content(b)
    done = merge(b, a, "--into", tmp_path / "all")
    assert "10 trials copied" in done.stdout
    assert (content(a), content(b)) == before
    for format in ("csv", "markdown", "json"):
        assert render(read([tmp_path / "all"]), format) == render(read([whole]), format)
    plan = SuiteFolder(tmp_path / "all" / "digits").read_plan()
    assert plan is not None
    assert [origin["seeds"] for origin in plan.provenance["merged"]] == [[3, 4], [0, 1, 2]]
    assert (tmp_path / "all" / "digits" / "report.md").exists()


def test_a_second_merge_changes_nothing_and_duplicates_count_once(tmp_path: Path) -> None:
    a, b = machine(tmp_path / "a", (0, 1)), machine(tmp_path / "b", (1, 2))
    merge(a, b, "--into", tmp_path / "all")
    once = content(tmp_path / "all")
    assert sum(name.endswith(".jsonl") for name in once) == 6
    done = merge(a, b, "--into", tmp_path / "all")
    assert "0 trials copied, 8 identical or already merged" in done.stdout
    assert content(tmp_path / "all") == once | {
        name: data for name, data in content(tmp_path / "all").items() if name.endswith("run.lock")
    }


def test_into_a_folder_that_has_results(tmp_path: Path) -> None:
    a, b = machine(tmp_path / "a", (0, 1)), machine(tmp_path / "b", (2,))
    merge(b, "--into", a)
    merge(a, b, "--into", a)
    assert len(list((a / "digits" / "trials").glob("*.jsonl"))) == 6
    assert read([a]).suites[0].plan.seeds == (0, 1, 2)  # type: ignore[union-attr]


def test_a_copy_of_an_earlier_state_gives_way_to_the_later_one(tmp_path: Path) -> None:
    a, b = machine(tmp_path / "a", (0,)), machine(tmp_path / "b", (0,))
    for file in (a / "digits" / "trials").glob("*"):
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    merge(a, b, "--into", tmp_path / "all")
    assert all(log.is_complete for log in read([tmp_path / "all"]).suites[0].logs)
    merge(b, "--into", a)
    assert all(log.is_complete for log in read([a]).suites[0].logs)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    a = machine(tmp_path / "a", (0,))
    done = merge(a, "--into", tmp_path / "all", "--dry-run")
    assert "2 trials would be copied" in done.stdout
    assert not (tmp_path / "all").exists()


def other_suite(root: Path) -> None:
    suite = a_suite(seeds=1, batch_size=128).model_copy(update={"seeds": (5,)})
    write(root, suite, {("SGD", 5): trial(5)})


def other_torch(root: Path) -> None:
    machine(root, (5,), torch="2.16.0")


def other_records(root: Path) -> None:
    machine(root, (0,), started_at="later")


def damaged(root: Path) -> None:
    machine(root, (5,))
    file = next((root / "digits" / "trials").glob("*"))
    file.write_bytes(file.read_bytes().replace(b'"evaluated"', b'"eval\xff', 1))


def cut_off(root: Path) -> None:
    machine(root, (5,))
    file = next((root / "digits" / "trials").glob("*"))
    file.write_bytes(file.read_bytes()[:-20])


def with_rate(root: Path, seed: int, rate: float) -> Path:
    rule = Rule(use="torch.optim.SGD", arguments={"lr": rate})
    suite = a_suite(["SGD"], optimizers={"SGD": Optimizer(rules=(rule,))}).model_copy(
        update={"seeds": (seed,)}
    )
    write(root, suite, {("SGD", seed): trial(seed)})
    return root


def test_a_setting_that_differs_is_named_as_in_the_suite(tmp_path: Path) -> None:
    folders = with_rate(tmp_path / "a", 0, 1e-3), with_rate(tmp_path / "b", 1, 1e-5)
    with pytest.raises(OptbenchError, match=r": optimizers\.SGD\.lr is 0\.001 there and 1e-05 here$"):
        merge(*folders, "--into", tmp_path / "all")


def no_plan_to_read(root: Path) -> None:
    machine(root, (5,))
    (root / "digits" / "plan.json").write_text('{"format": 1, "rows"')


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (other_suite, "not the same suite as in .*batch_size is 64 there and 128 here"),
        (other_torch, "different environments: torch is '2.15.0'.* and '2.16.0'"),
        (other_records, "the same trial as .*, with different records"),
        (damaged, "damaged record"),
        (cut_off, "its last record is incomplete"),
        (no_plan_to_read, "damaged"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_copied(tmp_path: Path, make: Any, said: str) -> None:
    a = machine(tmp_path / "a", (0,))
    make(tmp_path / "b")
    with pytest.raises(OptbenchError, match=said):
        merge(a, tmp_path / "b", "--into", tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_mixed_environments_can_be_allowed(tmp_path: Path) -> None:
    a = machine(tmp_path / "a", (0,))
    other_torch(tmp_path / "b")
    merge(a, tmp_path / "b", "--into", tmp_path / "all", "--allow-mixed")
    assert "different torch versions" in render(read([tmp_path / "all"]), "markdown")


def test_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    a = machine(tmp_path / "a", (0,))
    with (a / "digits" / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OptbenchError, match="another run holds the lock"):
            merge(a, "--into", tmp_path / "all")


def test_files_without_a_plan_and_superseded_records_come_along(tmp_path: Path) -> None:
    a, b = machine(tmp_path / "a", (0,)), machine(tmp_path / "b", (1,))
    (b / "digits" / "plan.json").unlink()
    aside = b / "digits" / "superseded"
    aside.mkdir()
    old = min((b / "digits/trials").iterdir()).read_text()
    (aside / "old--1.jsonl").write_text(old)
    merge(a, b, "--into", tmp_path / "all")
    merge(a, b, "--into", tmp_path / "all")
    assert len(read([tmp_path / "all"]).suites[0].logs) == 4
    assert [p.read_text() for p in (tmp_path / "all" / "digits" / "superseded").iterdir()] == [old]


@pytest.mark.parametrize("into_results", [False, True])
def test_a_kill_in_the_middle_leaves_what_a_repeat_finishes(tmp_path: Path, into_results: bool) -> None:
    """Killed at each rename in turn: there is nothing, or a readable folder, and the same command then ends as ever."""
    a, b = machine(tmp_path / "a", (0,)), machine(tmp_path / "b", (1,))
    code = (
        "import os, pathlib, sys; from optbench.store.merge import plan_merge, apply_merge\n"
        "left = [int(sys.argv[1])]; rename = pathlib.Path.rename\n"
        "def counted(self, goal):\n"
        "    left[0] -= 1\n"
        "    if left[0] < 0: os.kill(os.getpid(), 9)\n"
        "    return rename(self, goal)\n"
        "pathlib.Path.rename = counted\n"
        "into = pathlib.Path(sys.argv[2])\n"
        "apply_merge(plan_merge([pathlib.Path(p) for p in sys.argv[3:]], into), into)\n"
    )
    for number in (0, 1):
        into = tmp_path / f"all{number}"
        if into_results:
            machine(into, (2,))
        done = subprocess.run([sys.executable, "-c", code, str(number), into, a, b], capture_output=True)
        assert done.returncode in (-9, 0), done.stderr
        if done.returncode:
            found = list(into.glob("*/trials/*.jsonl"))
            assert len(found) == (2 + number if into_results else 0)
        merge(a, b, "--into", into)
        assert not list(into.glob(".merging*"))
        ids = {log.id for log in read([into]).suites[0].logs}
        assert len(ids) == (6 if into_results else 4)
        assert json.loads((into / "digits" / "plan.json").read_text())["seeds"] == (
            [0, 1, 2] if into_results else [0, 1]
        )


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    a = machine(tmp_path / "a", (0,))
    (tmp_path / "file").touch()
    with pytest.raises(OptbenchError, match="a file: expected a folder"):
        merge(a, "--into", tmp_path / "file")
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(OptbenchError, match="no permission"):
            merge(a, "--into", tmp_path / "locked")


@pytest.mark.parametrize("obstacle", ["a file in place of a folder", "records that cannot be read"])
def test_one_suite_that_cannot_be_copied_keeps_all_from_being_copied(tmp_path: Path, obstacle: str) -> None:
    suite = a_suite(seeds=1)
    for name in ("digits", "letters"):
        write(tmp_path / "a", suite, {(label, 0): trial(0) for label in suite.optimizers}, name)
    (tmp_path / "into").mkdir()
    if obstacle == "a file in place of a folder":
        (tmp_path / "into" / "letters").touch()
    else:
        (tmp_path / "a" / "letters" / "superseded").mkdir()
        (tmp_path / "a" / "letters" / "superseded" / "x.jsonl").symlink_to("nowhere")
    before = content(tmp_path)
    with pytest.raises(OptbenchError, match="letters"):
        merge(tmp_path / "a", "--into", tmp_path / "into")
    assert content(tmp_path) == before
    assert not (tmp_path / "into" / "digits").exists()
