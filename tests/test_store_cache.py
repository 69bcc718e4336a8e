"""The cache of parsed trial files: never needed, never wrong, and nothing in it is run."""

from __future__ import annotations

import importlib
import os
import pickle
from pathlib import Path

import platformdirs
import pytest

from optbench.report import render
from optbench.store import StoredSuite, cache, read
from results_builder import a_suite, reaching, write


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The trial files of a small suite that is cached like a large one, as soon as a file is read."""
    monkeypatch.delenv("OPTBENCH_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_LEAST_BYTES", 0)
    monkeypatch.setattr(cache, "_SETTLED_NS", -(10**15))
    events = {(label, seed): reaching(3 + seed) for label in ("SGD", "Adam") for seed in range(3)}
    return write(tmp_path / "results", a_suite(), events).trials


def place(trials: Path) -> Path | None:
    return next((trials.parents[2] / "cache").glob("reports/*.pickle"), None)


def logs(trials: Path):
    return read([trials.parent]).suites[0].logs


def parsed(trials: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that a read parses."""
    reader = importlib.import_module("optbench.store.read")
    found: list[str] = []
    with monkeypatch.context() as patch:
        plain = reader.read_log
        patch.setattr(reader, "read_log", lambda path: (found.append(path.name), plain(path))[1])
        logs(trials)
    return found


def test_what_was_read_before_is_not_parsed_again(trials, monkeypatch):
    assert len(parsed(trials, monkeypatch)) == 6
    assert parsed(trials, monkeypatch) == []


def test_a_changed_file_is_parsed_again_also_at_the_same_size_and_time(trials, monkeypatch):
    logs(trials)
    file = min(trials.glob("*.jsonl"))
    before = file.stat()
    changed = file.read_bytes().replace(b'"accuracy": 0.95', b'"accuracy": 0.85')
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # until the file system's clock has ticked
        file.write_bytes(changed)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    found = {log.path: log for log in logs(trials)}[file].finished
    assert found is not None
    assert found.final["last"]["accuracy"] == 0.85
    assert parsed(trials, monkeypatch) == []


def test_a_run_parses_again_only_what_changed(trials, monkeypatch):
    monkeypatch.setenv("OPTBENCH_CACHE", "off")
    reader = importlib.import_module("optbench.store.read")
    plain, found = reader.read_log, []
    monkeypatch.setattr(reader, "read_log", lambda path: (found.append(path.name), plain(path))[1])
    stored = StoredSuite(trials.parent)
    first = stored.read().suites[0]
    assert len(found) == len(first.logs) == 6
    assert [log.path for log in first.logs] == [log.path for log in logs(trials)]
    found.clear()
    file = min(trials.glob("*.jsonl"))
    file.write_bytes(file.read_bytes().rpartition(b'{"record"')[0])
    (changed,) = (log for log in stored.read().suites[0].logs if log.path == file)
    assert found == [file.name]
    assert changed.finished is None
    max(trials.glob("*.jsonl")).unlink()
    assert len(stored.read().suites[0].logs) == 5


def test_a_run_gets_the_same_results_again_until_something_changes(trials, monkeypatch):
    monkeypatch.setenv("OPTBENCH_CACHE", "off")
    stored = StoredSuite(trials.parent)
    first = stored.read()
    assert stored.read() is first
    max(trials.glob("*.jsonl")).unlink()
    second = stored.read()
    assert len(second.suites[0].logs) == 5
    assert stored.read() is second
    (trials.parent / "plan.json").unlink()
    assert stored.read().suites[0].plan is None


def test_logs_share_what_they_have_in_common(trials):
    one, other = (log for log in logs(trials) if log.trial["label"] == "SGD" and log.seed < 2)
    assert one.row is other.row
    assert (one.trial["seed"], other.trial["seed"]) == (0, 1)
    assert one.started.splits is other.started.splits
    assert one.started.environment["device_name"] is other.started.environment["device_name"]


def test_a_file_written_just_now_is_not_kept(trials, monkeypatch):
    monkeypatch.setattr(cache, "_SETTLED_NS", 10**15)
    logs(trials)
    assert len(parsed(trials, monkeypatch)) == 6
    assert place(trials) is None


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "version", "kind"])
def test_a_damaged_or_foreign_cache_is_rebuilt(trials, monkeypatch, damage):
    expected = logs(trials)
    file = place(trials)
    whole = file.read_bytes()
    signature = pickle.dumps(cache._signature())
    file.write_bytes(
        {
            "empty": b"",
            "cut": whole[: len(whole) // 2],
            "noise": b"\x80\x05" + bytes(range(256)),
            "version": pickle.dumps((0, "0")) + pickle.dumps({}),
            "kind": signature + pickle.dumps([1, 2]),
        }[damage]
    )
    assert logs(trials) == expected
    assert parsed(trials, monkeypatch) == []


class Attack:
    def __init__(self, goal: Path) -> None:
        self.goal = goal

    def __reduce__(self):
        return os.mkdir, (str(self.goal),)


def test_nothing_in_a_cache_is_run(trials, tmp_path):
    expected = logs(trials)
    for content in (b"", pickle.dumps(cache._signature())):
        place(trials).write_bytes(content + pickle.dumps(Attack(tmp_path / "ran")))
        assert logs(trials) == expected
        assert not (tmp_path / "ran").exists()


def test_a_cache_that_others_may_write_is_not_read(trials, monkeypatch):
    logs(trials)
    assert place(trials).stat().st_mode & 0o777 == 0o600
    place(trials).chmod(0o666)
    assert len(parsed(trials, monkeypatch)) == 6


def test_a_cache_that_cannot_be_written_is_left_alone(trials, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert len(logs(trials)) == 6


def test_off_does_without(trials, monkeypatch):
    monkeypatch.setenv("OPTBENCH_CACHE", "off")
    assert len(parsed(trials, monkeypatch)) == len(parsed(trials, monkeypatch)) == 6
    assert place(trials) is None


def test_reports_are_the_same_without_with_a_new_and_with_a_known_cache(trials, monkeypatch):
    def told() -> list[str]:
        return [render(read([trials.parent]), name) for name in ("markdown", "csv", "json", "html")]

    new, known = told(), told()
    monkeypatch.setenv("OPTBENCH_CACHE", "off")
    assert told() == new == known
