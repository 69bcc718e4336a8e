"""`doctor`: check that this machine can run suites."""

from __future__ import annotations

from pathlib import Path

from optbench.console import wrapped

_SIGNS = {"ok": "ok", "warning": "!", "bad": "x"}


def doctor(results: Path, data: str | None, device: str) -> int:
    """Print each finding with its fix. Returns exit code 1 if runs would fail."""
    from optbench.catalog.data_root import data_root
    from optbench.executor.health import examine
    from optbench.report.text import clean

    states = []
    for finding in examine(data_root(data), results, device):
        states.append(finding.state)
        line = clean(f"{_SIGNS[finding.state]:>2}  {finding.topic:<13} {finding.detail}")
        print(wrapped(line, indent=18), flush=True)
        if finding.advice:
            print(wrapped(clean(f"{'':<17} -> {finding.advice}"), indent=21), flush=True)
    bad, warned = states.count("bad"), states.count("warning")
    if bad:
        print(f"\n{bad} problem{'s' * (bad > 1)} to fix before a run can succeed")
    elif warned:
        print(f"\nReady to run, with {warned} warning{'s' * (warned > 1)}")
    else:
        print("\nReady to run: optbench run digits")
    return 1 if bad else 0
