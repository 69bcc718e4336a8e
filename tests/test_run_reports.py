"""What a run leaves to read: reports kept up to date between trials, and everything at its end, whatever goes wrong there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from optbench.cli.run_summary import show_end
from optbench.errors import OptbenchError
from optbench.executor.dispatch import Summary
from optbench.report import figures
from optbench.runner import intermediate_reports
from optbench.runner.intermediate_reports import with_intermediate_reports
from optbench.runner.options import RunOptions
from optbench.runner.suite_run import JobEnd
from optbench.store import StoredSuite, read
from results_builder import a_suite, evaluated, finished, reaching, write

NUMBERS = ("report.csv", "report.html", "report.json", "report.tex")


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, a_suite(labels=("SGD",), seeds=1), {("SGD", 0): reaching(3)})


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(intermediate_reports, "monotonic", lambda: now.seconds)
    return now


def ended(folder, left: int = 0) -> None:
    job = SimpleNamespace(folder=folder, wanted=())
    end = JobEnd(Summary(left=left), read([folder.path]))
    show_end(job, RunOptions(command="optbench run digits"), end, table=True)


def drawing_with(monkeypatch, draw) -> None:
    monkeypatch.setenv("OPTBENCH_FIGURES", "")
    monkeypatch.setattr(figures, "rendered", draw)


def test_reports_are_written_when_a_trial_has_ended_and_not_all_the_time(folder, clock):
    heard = []
    told = with_intermediate_reports(
        folder, StoredSuite(folder.path), lambda trial, event: heard.append(event)
    )
    report = folder.path / "report.md"
    told(None, finished())
    assert not report.exists()  # the run has only begun
    clock.seconds = 100.0
    told(None, evaluated(1, 0.5))
    assert not report.exists()  # this trial is being timed
    told(None, finished())
    assert "SGD" in report.read_text(encoding="utf-8")
    assert (folder.path / "report.csv").is_file()
    report.unlink()
    clock.seconds = 101.0
    told(None, finished())
    assert not report.exists()  # just written
    assert len(heard) == 4


def test_a_disk_that_refuses_a_report_does_not_stop_the_run(folder, clock):
    (folder.path / "report.md").mkdir()
    clock.seconds = 100.0
    told = with_intermediate_reports(folder, StoredSuite(folder.path), lambda trial, event: None)
    clock.seconds = 200.0
    told(None, finished())
    assert (folder.path / "report.md").is_dir()


def test_a_report_that_cannot_be_made_does_not_stop_the_run(folder, clock, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "optbench.runner.intermediate_reports.save", lambda *_: asked.append(1) or {}["missing"]
    )
    told = with_intermediate_reports(folder, StoredSuite(folder.path), lambda trial, event: None)
    clock.seconds = 200.0
    told(None, finished())
    assert asked == [1]


def test_the_end_shows_the_table_and_writes_every_format(folder, capsys):
    ended(folder, left=2)
    said = capsys.readouterr()
    assert "SGD" in said.out
    assert f"Results: {folder.path}" in said.err
    assert "Stopped with 2 unfinished trials. To resume: optbench" in said.err
    assert {path.name for path in folder.path.glob("report.*")} == {*NUMBERS, "report.md"}
    assert not (folder.path / "figures").exists()
    assert "Drawing" not in said.err


def test_the_end_states_that_it_draws_and_shows_the_figures_in_markdown(folder, monkeypatch, capsys):
    drawing_with(monkeypatch, lambda drawing, digest="": dict.fromkeys(figures.FORMATS, b"-"))
    ended(folder)
    assert "Drawing the figures" in capsys.readouterr().err
    assert "](figures/finals.svg)" in (folder.path / "report.md").read_text(encoding="utf-8")
    assert (folder.path / "figures/finals.png").is_file()


def test_a_figure_that_cannot_be_drawn_loses_no_numbers(folder, monkeypatch, capsys):
    drawing_with(monkeypatch, lambda drawing, digest="": 1 / 0)
    ended(folder)
    assert "note: not all reports could be written: ZeroDivisionError" in capsys.readouterr().err
    assert all((folder.path / name).is_file() for name in NUMBERS)


def test_a_place_that_refuses_figures_is_named_after_the_table_and_the_numbers(folder, monkeypatch, capsys):
    drawing_with(monkeypatch, lambda drawing, digest="": dict.fromkeys(figures.FORMATS, b"-"))
    (folder.path / "figures").write_text("somebody's file")
    with pytest.raises(OptbenchError, match="figures"):
        ended(folder)
    assert "SGD" in capsys.readouterr().out
    assert all((folder.path / name).is_file() for name in NUMBERS)
    assert (folder.path / "figures").read_text() == "somebody's file"


def test_an_interrupt_while_drawing_leaves_whole_files(folder, monkeypatch):
    ended(folder)  # as between trials: report.md without figures
    before = (folder.path / "report.md").read_text(encoding="utf-8")

    def interrupted(drawing, digest=""):
        raise KeyboardInterrupt

    drawing_with(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        ended(folder)
    assert (folder.path / "report.md").read_text(encoding="utf-8") == before
    assert all((folder.path / name).is_file() for name in NUMBERS)
    assert not list(folder.path.glob("figures/*"))
