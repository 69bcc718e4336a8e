"""`NAME` or `NAME(key=value, ...)`, as the command line names a model or an optimizer with its arguments."""

from __future__ import annotations

import ast
from typing import Any

from optbench.errors import OptbenchError, Problem


def parse_call(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """`torch.optim.SGD(momentum=0.9)` -> ("torch.optim.SGD", {"momentum": 0.9}).

    The name is one that a suite may use, `my_opt.py:MyOptimizer` too. Values are Python literals; nothing is run. Raises
    `OptbenchError`, placed at `where`, for anything else.
    """
    name, arguments = text.strip(), ""
    start = name.find("(", name.find(".py:") + 1)
    if start >= 0:
        name, arguments = name[:start].rstrip(), name[start:]
    if not name:
        raise OptbenchError(Problem(f"expected NAME or NAME(key=value, ...); found '{text}'", where))
    return name, _keywords(arguments, text, where) if arguments else {}


def _keywords(arguments: str, text: str, where: str) -> dict[str, Any]:
    def refuse(why: str) -> OptbenchError:
        return OptbenchError(Problem(f"{why} in '{text}'; expected NAME(key=value, ...)", where))

    try:
        call = ast.parse(f"f{arguments}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refuse(error.msg if isinstance(error, SyntaxError) else "unreadable arguments") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise refuse("text after the arguments")
    if call.args:
        raise refuse("an argument without a name")
    found: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise refuse("an argument without a name")
        if keyword.arg in found:
            raise refuse(f"'{keyword.arg}' is given twice")
        try:
            found[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise refuse(f"'{keyword.arg}' is no number, text, list, True, False or None") from None
    return found
