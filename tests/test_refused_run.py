"""A refused run leaves the disk as it found it; one that did little shows no table of what nobody asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from optbench.cli.commands.plan import show_plans
from optbench.cli.run_summary import show_end
from optbench.errors import OptbenchError
from optbench.executor.dispatch import Summary
from optbench.runner.final_reports import requested_rows
from optbench.runner.job import Job
from optbench.runner.options import RunOptions
from optbench.runner.results_folder import locked_folder
from optbench.runner.suite_run import JobEnd
from optbench.store import Results, StoredSuite, SuiteFolder, read
from results_builder import a_suite, curve, trials_of, write
from trials import TINY


def everything(root: Path) -> dict[str, bytes | None]:
    """Each path below `root`, with its bytes; None for a folder."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


def refuse(folder: SuiteFolder, *files: str) -> None:
    """Begin a run, in which somebody writes `files`, and refuse it."""

    def begin() -> None:
        with locked_folder(folder):
            for name in files:
                (folder.path / name).write_text("theirs")
            raise OptbenchError("not this one")

    with pytest.raises(OptbenchError):
        begin()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("results", ["results", "a/b/c", "a/../b", "./results/", "a b/[c]"])
def test_a_refused_run_takes_its_new_folders_away(here: Path, results: str) -> None:
    refuse(SuiteFolder.of(Path(results), "tiny"))
    assert everything(here) == {}


@pytest.mark.parametrize(
    "there",
    [
        ["results/"],
        ["results/tiny/"],
        ["results/tiny/trials/"],
        ["results/tiny/trials/", "results/tiny/checkpoints/", "results/tiny/run.lock"],
        ["results/tiny/trials/old.jsonl"],
        ["results/tiny/checkpoints/old.pt", "results/tiny/plan.json"],
        ["results/tiny/report.md"],
        ["results/other/trials/old.jsonl"],
    ],
)
@pytest.mark.parametrize("results", ["results", "new/../results"])
def test_what_was_there_before_survives_a_refused_run(here: Path, there: list[str], results: str) -> None:
    for name in there:
        path = here / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"" if path.name == "run.lock" else b"measured for days")
    before = everything(here)
    refuse(SuiteFolder.of(Path(results), "tiny"))
    after = everything(here)
    assert before.items() <= after.items()
    assert after.get("results/tiny/run.lock", b"") == b""  # no name in it, as if a run had been killed
    assert {Path(name).name for name in after.keys() - before.keys()} <= {"run.lock"}


def test_a_folder_behind_a_link_survives_a_refused_run(here: Path) -> None:
    (here / "disk" / "tiny").mkdir(parents=True)
    (here / "results").symlink_to("disk")
    refuse(SuiteFolder.of(here / "results", "tiny"))
    assert (here / "results").is_symlink()
    assert (here / "disk" / "tiny").is_dir()


def test_what_others_put_into_a_new_folder_keeps_it(here: Path) -> None:
    folder = SuiteFolder.of(Path("new/results"), "tiny")
    refuse(folder, "trials/theirs.jsonl", "../notes.txt")
    assert (folder.trials / "theirs.jsonl").read_text() == "theirs"
    assert (folder.path.parent / "notes.txt").read_text() == "theirs"


def test_a_folder_that_cannot_be_made_leaves_no_half_of_it(here: Path) -> None:
    (here / "file").write_text("not a folder")
    folder = SuiteFolder.of(Path("new/../file/results"), "tiny")
    with pytest.raises(OptbenchError), locked_folder(folder):
        pytest.fail("there is no such folder")
    assert everything(here) == {"file": b"not a folder"}


def test_a_run_that_is_not_refused_keeps_its_folder(here: Path) -> None:
    folder = SuiteFolder.of(Path("results"), "tiny")
    with locked_folder(folder):
        folder.write_text("plan.json", "{}")
    assert {"plan.json", "trials", "checkpoints", "run.lock"} == set(os.listdir(folder.path))


def test_the_second_run_is_refused_and_the_first_keeps_its_folder(here: Path) -> None:
    folder = SuiteFolder.of(Path("results"), "tiny")
    with locked_folder(folder):
        with pytest.raises(OptbenchError, match=f"process {os.getpid()}"), locked_folder(folder):
            pytest.fail("two runs in one folder")
        assert folder.trials.is_dir()
        folder.write_text("plan.json", "{}")
    assert (folder.path / "plan.json").exists()


def test_a_lock_whose_file_was_removed_is_acquired_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking the file another run may end, refused, and remove it."""
    import fcntl

    folder = SuiteFolder.of(Path("results"), "tiny")
    folder.create()
    lock, calls = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not calls:
            (folder.path / "run.lock").unlink()
        calls.append(descriptor)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder.lock():
        monkeypatch.setattr(fcntl, "flock", lock)
        assert len(calls) == 2
        with pytest.raises(OptbenchError, match="is running this suite"), folder.lock():
            pass


def stored(root: Path) -> Results:
    """SGD and Adam are planned with it as the baseline; only Adam ran."""
    write(root, a_suite(seeds=1, baseline="SGD"), {("Adam", 0): curve([0.5, 0.95])})
    return read([root])


def test_only_shows_no_rows_that_were_not_requested(tmp_path: Path) -> None:
    [suite] = requested_rows(stored(tmp_path), ("Adam",)).suites
    assert suite.plan is not None
    assert [row.trial["label"] for row in suite.plan.rows] == ["Adam"]
    assert suite.plan.resolved["baseline"] is None  # its row is not there to be compared with


def test_only_keeps_rows_that_ran_before(tmp_path: Path) -> None:
    [suite] = requested_rows(stored(tmp_path), ("SGD",)).suites
    assert suite.plan is not None
    assert [row.trial["label"] for row in suite.plan.rows] == ["SGD", "Adam"]
    assert suite.plan.resolved["baseline"] == "SGD"


def test_without_only_every_row_is_shown(tmp_path: Path) -> None:
    results = stored(tmp_path)
    assert requested_rows(results, ()) is results


@pytest.mark.parametrize("ran", [False, True])
def test_where_nothing_ran_there_is_no_empty_table(
    tmp_path: Path, ran: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTBENCH_FIGURES", "off")
    suite = a_suite(seeds=1)
    folder = write(tmp_path, suite, {("Adam", 0): curve([0.5, 0.95])} if ran else {})
    trials = trials_of(suite)
    job = Job(None, trials, trials, folder, StoredSuite(folder.path))  # type: ignore[arg-type]
    end = JobEnd(Summary(left=1 if ran else 2), read([folder.path]))
    show_end(job, RunOptions(command="optbench run s"), end, table=True)
    said = capsys.readouterr()
    assert ("Adam" in said.out) == ran
    assert bool(said.out.strip()) == ran
    assert "To resume: optbench run s" in said.err


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", ""])
def test_a_dry_run_refuses_a_device_that_is_not_there(tmp_path: Path, device: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    options = RunOptions(device=device, results=tmp_path / "results")
    with pytest.raises(OptbenchError, match="is not available"):
        show_plans([str(path)], options)
    assert not (tmp_path / "results").exists()
