"""Print the JSON Schema of suite files, for editors.

Editors use it to complete keys and to mark errors. For the YAML extension of VS Code, add this line at the top of a
suite: `# yaml-language-server: $schema=suite.schema.json`.

Examples:
  optbench schema
  optbench schema > suite.schema.json

Exit codes:
  0  printed
"""

from __future__ import annotations

import sys

from optbench.suite.schema import json_schema

PLACE = "Look up", 4


def schema() -> None:
    import json

    json.dump(json_schema(), sys.stdout, indent=2)
    print()
