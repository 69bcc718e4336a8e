"""Trials on two network namespaces, whose only connection is a virtual cable: as on two machines, and when the cable is cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optbench.store import read
from trials import RESUME_CASES, records
from two_nodes import ADAM, Nodes, one_trial

ONE, TWO = "10.213.0.1", "10.213.0.2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def why_not() -> str:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return "needs iproute2 and root"
    name = f"ob{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces cannot be created"
    ip("netns", "delete", name)
    return ""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    names = f"ob{os.getpid()}a", f"ob{os.getpid()}b"
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, (ONE, TWO), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def run(folder: Path, namespaces: tuple[str, str]) -> subprocess.Popen[str]:
    script = str(Path(__file__).with_name("network_run.py"))
    second = ["ip", "netns", "exec", namespaces[1]]
    command = ["ip", "netns", "exec", namespaces[0], sys.executable, script, str(folder), ONE, *second]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_cut_cable_ends_the_trial_and_the_next_run_resumes_exactly(
    tmp_path: Path, namespaces: tuple[str, str]
) -> None:
    (tmp_path / "there").mkdir()
    expected = Nodes(
        one_trial(tmp_path, {**ADAM, "nodes": 2}, **RESUME_CASES["adam with everything"]), tmp_path / "there"
    )
    assert expected.run().ended == {"completed": 1}
    (tmp_path / "cut").touch()
    process = run(tmp_path, namespaces)
    while not (tmp_path / "was-cut").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    ip("-n", namespaces[1], "link", "set", "cable", "down")
    since = time.monotonic()
    (tmp_path / "continue").touch()
    output, errors = process.communicate(timeout=120)
    print(f"found after {time.monotonic() - since:.0f} s")
    assert f"{{'a': '{ONE}', 'b': '{TWO}'}}" in output
    assert "a trial needs 2 nodes (`nodes: 2`) and there is 1" in errors
    [log] = read([tmp_path / "results"]).suites[0].logs
    assert log.finished is not None
    assert log.finished.at_fault == "infrastructure"
    assert "node b was lost" in log.finished.detail
    ip("-n", namespaces[1], "link", "set", "cable", "up")
    output, errors = run(tmp_path, namespaces).communicate(timeout=120)
    assert "{'completed': 1}" in output, errors
    [log] = read([tmp_path / "results"]).suites[0].logs
    assert [event.step > 0 for event in log.resumed] == [True]
    assert repr(records([*log.evaluations, log.finished])) == expected.records()
