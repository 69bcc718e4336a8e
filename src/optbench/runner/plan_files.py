"""The plan and the resolved suite in a results folder, and where finished results come from."""

from __future__ import annotations

from pathlib import Path

from optbench.catalog.metric_facts import metric_facts
from optbench.catalog.rate_notes import rate_notes
from optbench.runner.job import Job
from optbench.runner.options import RunOptions
from optbench.store import make_plan
from optbench.store.read import read_log
from optbench.suite.dump import dump_text


def write_plan(job: Job, options: RunOptions) -> None:
    suite_file = _relative(job.loaded.path)
    head = f"# As run, resolved from {suite_file}. Relative paths start from the folder of that file.\n"
    job.folder.write_text("suite.yaml", head + dump_text(job.loaded.suite))
    job.folder.write_plan(
        make_plan(
            job.loaded.name,
            job.loaded.suite,
            job.planned,
            options.command,
            {"suite_file": suite_file} | ({"notes": notes} if (notes := rate_notes(job.loaded)) else {}),
            metric_facts(job.loaded.suite, job.loaded.folder),
        )
    )


def _relative(path: Path) -> str:
    """Return the path below the working folder, otherwise the name only: shared results must not contain home folders."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.name


def already_measured(job: Job) -> str:
    """Return where finished results come from: a clone of a repository may contain results of another machine."""
    started = read_log(job.folder.trial_path(job.wanted[0])).started
    facts = started.environment if started else {}
    return (
        f"All trials are already in {job.folder.path}, measured on {facts.get('device_name', 'an unknown device')} with torch "
        f"{facts.get('torch', '?')} ({str(facts.get('started_at', 'at an unknown time'))[:10]}). To run them on this machine, add "
        "--fresh or use another --results folder"
    )
