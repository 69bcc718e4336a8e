"""The text under a field of a suite's types is its description. It is read from the source where somebody asks: a check doesn't."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from optbench.suite.amounts import Strict


def description(model: type[BaseModel], field: str) -> str:
    """ "" where there is none."""
    return next((texts[field] for cls in model.__mro__ if field in (texts := _own(cls))), "")


@cache
def describe_all() -> None:
    """Put every description where pydantic looks for it when it makes a JSON Schema."""
    models = _below(Strict)
    for model in models:
        for name, field in model.model_fields.items():
            field.description = description(model, name) or None
    for model in models:
        model.model_rebuild(force=True)


def _below(model: type[Strict]) -> list[type[Strict]]:
    """As they were defined: what a model is made of comes before it."""
    return [found for own in model.__subclasses__() for found in (own, *_below(own))]


def _own(cls: type) -> dict[str, str]:
    return _of_module(cls.__module__).get(cls.__qualname__, {})


@cache
def _of_module(module: str) -> dict[str, dict[str, str]]:
    """By class and field."""
    file = getattr(sys.modules[module], "__file__", None)
    if not file or not module.startswith("optbench."):
        return {}
    tree = ast.parse(Path(file).read_bytes())
    return {node.name: _texts(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _texts(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for statement, below in zip(node.body, node.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[statement.target.id] = inspect.cleandoc(text.value)
    return found
