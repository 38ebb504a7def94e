"""Lets the API pages show declared options, which are in no docstring before a module is imported.

An extension of griffe, which else only reads sources: what `edgeclf.options.declaration` makes of a
class or function is taken from the imported one.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe

_DECORATOR, _FIELD = "options.takes(", "option("


class DeclaredOptions(griffe.Extension):
    """Signature and docstring of verbs that take options, and of the classes that declare them."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Replaces those of a verb."""
        if any(str(each.value).startswith(_DECORATOR) for each in func.decorators):
            found = _imported(func)
            func.parameters = _parameters(inspect.signature(found))
            func.docstring = _docstring(found, func)

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Replaces those of a class of options."""
        fields = [each for each in cls.members.values() if isinstance(each, griffe.Attribute)]
        if not any(str(each.value).startswith(_FIELD) for each in fields):
            return
        found = _imported(cls)
        cls.docstring = _docstring(found, cls)
        parameters = _parameters(inspect.signature(found))
        cls.set_member("__init__", griffe.Function("__init__", parameters=parameters, parent=cls))


def _imported(shown: griffe.Object) -> Any:
    return getattr(importlib.import_module(shown.parent.path), shown.name)  # type: ignore[union-attr]


def _docstring(found: Any, shown: griffe.Object) -> griffe.Docstring:
    return griffe.Docstring(inspect.getdoc(found) or "", parent=shown)


def _parameters(signature: inspect.Signature) -> griffe.Parameters:
    return griffe.Parameters(*(
        griffe.Parameter(
            each.name,
            kind=griffe.ParameterKind(each.kind.description),
            annotation=None if each.annotation is each.empty else str(each.annotation),
            default=None if each.default is each.empty else repr(each.default),
        )
        for each in signature.parameters.values()
    ))  # fmt: skip
