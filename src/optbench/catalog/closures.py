"""Determine from the source whether an optimizer's `step` requires a closure, without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache

from optbench.catalog import sources
from optbench.catalog.lookup import Target
from optbench.catalog.signatures import method_of, parameters_of
from optbench.catalog.sources import Function

#: methods of classes that evaluate the gradient twice per step, as in https://github.com/davda54/sam
PASSES = ("first_step", "second_step")
#: names of the first, optional parameter of `step` in libraries
CLOSURE_NAMES = ("closure", "closure_fn", "loss_closure", "loss_fn", "loss_func")


LOSS_ONLY_CLIP = "the optimizer calls backward() itself, so its gradients cannot be clipped before it uses them; expected 'clip: null'"


def requires_closure(target: Target) -> bool:
    """Return whether `step` of the class cannot be called without a closure; False if the source does not show it."""
    return _requires_closure(target, sources.changed(target.file))


@lru_cache(maxsize=1024)
def _requires_closure(target: Target, changed: int) -> bool:
    if target.file is None or not target.attribute:
        return False
    found = sources.define(target.module, target.file, target.attribute)
    if found is None:
        return False
    if all(method_of(found, name) for name in PASSES):
        return True
    step = method_of(found, "step")
    parameters = parameters_of(step[1])[1:] if step else []
    if step is None or not parameters:
        return False
    first = parameters[0]
    return first.required or (first.name in CLOSURE_NAMES and rejects_none(step[1], first.name))


def rejects_none(step: Function, name: str) -> bool:
    """Return whether the function raises if its argument `name` is None, explicitly or by calling it unconditionally."""
    tested = any(
        isinstance(node, (ast.If, ast.IfExp, ast.BoolOp)) and _mentions(_test(node), name)
        for node in ast.walk(step)
    )
    return any(
        (isinstance(node, ast.Assert) and _tests_for_presence(node.test, name))
        or (isinstance(node, ast.If) and _tests_for_absence(node.test, name) and _raises(node.body))
        or (not tested and _calls(node, name))
        for node in _unconditional(step.body)
    )


def _test(node: ast.If | ast.IfExp | ast.BoolOp) -> ast.expr:
    return node if isinstance(node, ast.BoolOp) else node.test


def _unconditional(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that every call executes, unless an earlier one returns."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.With):
            yield from _unconditional(statement.body)


def _tests_for_presence(test: ast.expr, name: str) -> bool:
    """Return whether the condition is `closure`, `closure is not None` or `callable(closure)`."""
    return ast.unparse(test) in (name, f"{name} is not None", f"callable({name})")


def _tests_for_absence(test: ast.expr, name: str) -> bool:
    return ast.unparse(test) in (f"{name} is None", f"not {name}", f"not callable({name})")


def _raises(body: Sequence[ast.stmt]) -> bool:
    return any(isinstance(statement, ast.Raise) for statement in body)


def _calls(statement: ast.stmt, name: str) -> bool:
    if (
        not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr, ast.Return))
        or statement.value is None
    ):
        return False
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(statement.value)
        if not isinstance(node, (ast.Lambda, ast.IfExp))
    )


def _mentions(node: ast.expr, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))
