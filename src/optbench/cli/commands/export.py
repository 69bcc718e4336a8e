"""Write results as files for TensorBoard, Weights & Biases or MLflow.

Each trial becomes a run with its settings, evaluations, final metrics and status. Nothing is uploaded. Exporting again adds
new trials, replaces runs of changed trials, and leaves other runs unchanged. Each tool needs an extra, for example
pip install 'optbench[tensorboard]'.

Examples:
  optbench export tensorboard results/digits
  optbench export wandb results --output shared
  optbench export mlflow results

Exit codes:
  0  written
  2  bad input, or the tool's library is not installed
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from optbench.cli.options import argument, option
from optbench.cli.result_paths import ResultPaths
from optbench.console import wrapped
from optbench.errors import OptbenchError
from optbench.exporting import exporter, known_tools
from optbench.exporting._runs import runs_of
from optbench.plurals import counted
from optbench.store import read

PLACE = "Import and share", 2


def _tools() -> list[str]:
    return list(known_tools())


def export(
    tool: Annotated[str, argument("TOOL", "tensorboard, wandb or mlflow.", complete=_tools)],
    paths: ResultPaths = None,
    output: Annotated[Path | None, option("DIR", "Folder to write to. Default: exported/TOOL.")] = None,
) -> None:
    module = exporter(tool)
    folder = output or Path("exported") / tool
    if folder.exists() and not folder.is_dir():
        raise OptbenchError("expected a folder, found a file; use another --output", file=str(folder))
    found = module.export(runs_of(read(paths or [Path("results")], all_seeds=True)), folder)
    line = f"{folder}: {counted(found.new, 'run')} new, {found.same} unchanged, {found.replaced} replaced"
    print(wrapped(line, indent=2))
    print(f"Next: {module.next_step(folder)}")
