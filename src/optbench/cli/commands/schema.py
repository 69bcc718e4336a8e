"""`optbench schema`: the grammar of suite files, for editors."""

from __future__ import annotations

import sys

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def schema() -> None:
    """Print the JSON Schema of suite files, for editors.

    Editors then complete keys and underline mistakes. For VS Code's YAML extension, put this line at the top of a
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
