"""Descriptions of suite keys: the string below a field. They are read from the source on demand; `check` does not need them."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from optbench.suite.field_types import Strict


def description(model: type[BaseModel], field: str) -> str:
    """Return the description of a field, or "" if it has none."""
    return next((texts[field] for cls in model.__mro__ if field in (texts := _of_class(cls))), "")


@cache
def describe_all() -> None:
    """Set the description of every field, so that pydantic includes it in the JSON Schema."""
    models = _subclasses(Strict)
    for model in models:
        for name, field in model.model_fields.items():
            field.description = description(model, name) or None
    for model in models:
        model.model_rebuild(force=True)


def _subclasses(model: type[Strict]) -> list[type[Strict]]:
    """Return all subclasses in order of definition: the parts of a model come before it."""
    return [cls for child in model.__subclasses__() for cls in (child, *_subclasses(child))]


def _of_class(cls: type) -> dict[str, str]:
    return _of_module(cls.__module__).get(cls.__qualname__, {})


@cache
def _of_module(module: str) -> dict[str, dict[str, str]]:
    """Return the descriptions in a module, by class and field."""
    file = getattr(sys.modules[module], "__file__", None)
    if not file or not module.startswith("optbench."):
        return {}
    tree = ast.parse(Path(file).read_bytes())
    return {node.name: _texts(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _texts(node: ast.ClassDef) -> dict[str, str]:
    texts = {}
    for statement, following in zip(node.body, node.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                texts[statement.target.id] = inspect.cleandoc(text.value)
    return texts
