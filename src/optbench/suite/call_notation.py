"""Parse `NAME` or `NAME(key=value, ...)`, the notation of the command line for a model or an optimizer with arguments."""

from __future__ import annotations

import ast
from typing import Any

from optbench.errors import OptbenchError


def parse_call(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """Parse `torch.optim.SGD(momentum=0.9)` into ("torch.optim.SGD", {"momentum": 0.9}).

    The name may be any that a suite accepts, including `my_opt.py:MyOptimizer`. Values are Python literals; no code is run.
    Raises `OptbenchError` with the place `where` for anything else.
    """
    name, arguments = text.strip(), ""
    start = name.find("(", name.find(".py:") + 1)
    if start >= 0:
        name, arguments = name[:start].rstrip(), name[start:]
    if not name:
        raise OptbenchError(f"expected NAME or NAME(key=value, ...); found '{text}'", where=where)
    return name, _keywords(arguments, text, where) if arguments else {}


def _keywords(arguments: str, text: str, where: str) -> dict[str, Any]:
    def refuse(reason: str) -> OptbenchError:
        return OptbenchError(f"{reason} in '{text}'; expected NAME(key=value, ...)", where=where)

    try:
        call = ast.parse(f"f{arguments}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refuse(error.msg if isinstance(error, SyntaxError) else "unreadable arguments") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise refuse("text after the arguments")
    if call.args:
        raise refuse("an argument without a name")
    arguments_by_name: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise refuse("an argument without a name")
        if keyword.arg in arguments_by_name:
            raise refuse(f"'{keyword.arg}' is given twice")
        try:
            arguments_by_name[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise refuse(f"'{keyword.arg}' is not a number, text, list, True, False or None") from None
    return arguments_by_name
