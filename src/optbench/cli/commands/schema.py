"""`optbench schema`: print the JSON Schema of suite files."""

from __future__ import annotations

import sys

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def schema() -> None:
    """Print the JSON Schema of suite files, for editors.

    Editors use it to complete keys and to mark errors. For the YAML extension of VS Code, add this line at the top of a
    suite: `# yaml-language-server: $schema=suite.schema.json`.

    Examples:
      optbench schema
      optbench schema > suite.schema.json

    Exit codes:
      0  printed
    """
    import json

    from optbench.suite.schema import json_schema

    json.dump(json_schema(), sys.stdout, indent=2)
    print()
