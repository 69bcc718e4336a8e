"""`optbench doctor` finds what would make a run fail, says what to do, and leaves nothing behind."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from optbench.executor import health
from optbench.executor.health import Finding
from program import optbench


def test_a_healthy_machine_is_ready_and_stays_as_it_was(tmp_path: Path) -> None:
    done = optbench("doctor", "--data", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for topic in (
        "python",
        "torch",
        "torchvision",
        "GPU",
        "threads",
        "data root",
        "data sets",
        "results",
        "write speed",
        "training",
    ):
        assert f"  {topic}" in done.stdout
    assert "digits" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_would_fail_is_reported_with_what_to_do(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("no folder")
    done = optbench("doctor", "--results", blocked / "x", "--device", "cuda:7", cwd=tmp_path)
    assert done.returncode == 1
    assert "--results DIR" in done.stdout
    assert "device 'cuda:7' is not available" in done.stdout
    assert "2 problems to fix" in done.stdout


def test_missing_and_old_packages_are_reported_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "scipy":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0.3" if name == "pandas" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    bad = {f.topic: f for f in health.installation() if f.state == "bad"}
    assert bad.keys() == {"scipy", "pandas"}
    assert bad["scipy"].detail == "not installed"
    assert bad["pandas"].advice.startswith("pip install 'pandas>=")


def test_a_slow_or_small_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_speed", lambda descriptor, size: (1e6, 0.5))
    monkeypatch.setattr(health.shutil, "disk_usage", lambda place: type("", (), {"free": 1_000_000}))
    states = {finding.topic: finding for finding in health.disk("results", tmp_path)}
    assert states["results"].state == "warning"
    assert "free disk space" in states["results"].advice
    assert states["write speed"].state == "warning"
    assert "1 MB/s, 500.0 ms" in states["write speed"].detail


def test_a_check_that_breaks_is_a_finding_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> list[Finding]:
        raise ImportError("libtorch is gone")

    monkeypatch.setattr(health, "torch_and_torchvision", broken)
    monkeypatch.setattr(health, "training", lambda root, device: iter(()))
    found = {finding.topic: finding for finding in health.examine(tmp_path, tmp_path)}
    assert found["torch"].state == "bad"
    assert "libtorch is gone" in found["torch"].detail
    assert "results" in found
