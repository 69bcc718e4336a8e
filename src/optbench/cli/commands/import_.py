"""Import logs of other tools as results.

Importing the same logs again changes nothing. Logs that have changed replace the imported trials.

Examples:
  optbench import csv log.csv --target 'accuracy>=0.97'
  optbench import tensorboard runs --runs '{optimizer}/{seed}'
  optbench import csv --help
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optbench.cli.layout import Command, Group
from optbench.cli.options import argument, option
from optbench.console import wrapped
from optbench.importing.algoperf import import_algoperf
from optbench.importing.readers import known_readers
from optbench.importing.tidy import ImportOptions, import_logs
from optbench.importing.write import Written
from optbench.plurals import counted

PLACE = "Import and share", 3

_EXIT_CODES = """Exit codes:
  0  imported
  2  bad input: a column is missing, or a value cannot be read"""

app = typer.Typer(
    cls=Group,
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Results = Annotated[Path, option("DIR", "Parent folder of the suites' results.", "--results")]


@app.command(cls=Command)
def algoperf(
    logs: Annotated[
        Path,
        argument("LOGS", "Folder of submissions: <submission>/study_<s>/<workload>_<framework>/trial_<t>/."),
    ],
    targets: Annotated[Path, option("FILE", "The competition's workload_targets.json.")],
    results: Results = Path("results"),
    name: Annotated[
        str | None, option("NAME", "Name of the suite in the results. Default: the folder's name.")
    ] = None,
) -> None:
    """Import the log folders of the AlgoPerf competition.

    Damaged logs are skipped or repaired, counted and reported. `optbench report RESULTS --leaderboard` then scores the submissions.

    Examples:
      optbench import algoperf logs --targets workload_targets.json
      optbench import algoperf logs/external_tuning --targets workload_targets.json --results results --name algoperf

    Exit codes:
      0  imported
      2  bad input: logs not found, or no readable logs
    """
    found = import_algoperf(logs, targets, results, name)
    line = (
        f"{counted(len(found.submissions), 'submission')} ({', '.join(found.submissions)}), {counted(len(found.workloads), 'workload')}, "
        f"{counted(found.evaluations, 'evaluation')}"
    )
    print(wrapped(line, indent=2))
    _print_import(found.written, found.findings)
    print(f"Next: optbench report {found.written.folder} --leaderboard")


def _import_logs(
    context: typer.Context,
    paths: Annotated[list[Path], argument("PATH...", "Files or folders of logs.")],
    maps: Annotated[
        list[str] | None,
        option(
            "FIELD=COLUMN",
            "Read FIELD from this column. FIELD is optimizer, seed, workload, step, epoch, seconds, samples, train_loss, "
            "learning_rate, or a metric such as validation.accuracy. Columns with these names need no --map. Repeatable.",
            "--map",
        ),
    ] = None,
    runs: Annotated[
        str,
        option(
            "PATTERN",
            "Read optimizer, seed or workload from the end of each run's name or file name, for example "
            "'{optimizer}/{seed}'. * matches any text without a slash.",
        ),
    ] = "",
    targets: Annotated[
        list[str] | None,
        option(
            "TARGET",
            "Target, for example 'accuracy>=0.97', 'test.loss<=0.2' or 'cifar10:accuracy>=0.9'. Repeatable.",
            "--target",
        ),
    ] = None,
    percent: Annotated[
        list[str] | None, option("COLUMN", "Divide this column by 100: it is in percent. Repeatable.")
    ] = None,
    baseline: Annotated[
        str | None, option("LABEL", "Optimizer to compare with. Default: the first one.")
    ] = None,
    results: Results = Path("results"),
    name: Annotated[
        str | None, option("NAME", "Name of the suite in the results. Default: the first path's name.")
    ] = None,
) -> None:
    """Import with the reader that has the command's name."""
    options = ImportOptions(
        tuple(maps or ()), tuple(targets or ()), tuple(percent or ()), baseline, name, runs
    )
    found = import_logs(context.command.name or "", paths, results, options)
    line = (
        f"{counted(len(found.optimizers), 'optimizer')} ({', '.join(found.optimizers)}), workloads: {', '.join(found.workloads)}; "
        f"{counted(found.evaluations, 'evaluation')}"
    )
    print(wrapped(line, indent=2))
    _print_import(found.written, found.findings)
    print(f"Next: optbench report {found.written.folder}")


def _print_import(written: Written, findings: tuple[str, ...]) -> None:
    for line in findings:
        print(wrapped(f"! {line}", indent=2))
    moved = f", {written.set_aside} no longer in the logs: moved to superseded/" if written.set_aside else ""
    line = f"{written.folder}: {counted(written.new, 'trial')} new, {written.same} unchanged, {written.replaced} replaced{moved}"
    print(wrapped(line, indent=2))


for _kind, _manual in known_readers().items():
    app.command(name=_kind, cls=Command, help=f"{_manual}\n\n{_EXIT_CODES}")(_import_logs)
