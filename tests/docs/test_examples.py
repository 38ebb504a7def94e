"""The examples in the docstrings of all public names: run as they stand, or held to signatures."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import edgeclf
from edgeclf.errors import MissingDependencyError

# Need a trained model, photos or an engine, or take longer than a test may: shown and not run.
SHOWN = {
    "autotune", "benchmark", "bulk", "calibrate", "compare", "convert", "demo", "distill", "doctor",
    "explain", "fit", "load", "monitor", "profile", "promote", "prune", "register", "report",
    "serve", "train", "ui", "update", "verify",
}  # fmt: skip
# Whose names say all: the page of errors tells when each is raised.
PLAIN_ERRORS = {
    name for name in edgeclf.__all__ if name.endswith("Error")
} - {"EdgeclfError", "MissingDependencyError"}  # fmt: skip
ROOMS = {"fleet"}
# Public beside the top level.
SEAMS = {
    "edgeclf.artifact": ("Normalization",),
    "edgeclf.converters.base": ("Recipe", "Target"),
    "edgeclf.image": ("resize_image",),
    "edgeclf.runtimes": ("load_runtime",),
    "edgeclf.runtimes.base": ("as_probabilities", "check_images"),
    "edgeclf.runtimes.fake": ("FakeRuntime", "fake_artifact"),
}
RUN = [
    *(("edgeclf", name) for name in edgeclf.__all__ if name not in SHOWN | PLAIN_ERRORS | ROOMS),
    *((module, name) for module, names in SEAMS.items() for name in names),
]
FENCE = re.compile(r"^ *```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def public(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except MissingDependencyError as exc:
        pytest.skip(str(exc))


@pytest.mark.parametrize(("module", "name"), RUN, ids=lambda text: text)
def test_examples_run_as_they_stand(
    module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # some write files
    tests = doctest.DocTestFinder(exclude_empty=True).find(public(module, name), name, globs={})
    assert tests and tests[0].examples, f"{module}.{name} has no example that runs"
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    for test in tests:
        assert runner.run(test).failed == 0, test.name


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_examples_that_are_shown_fit_the_signatures(name: str) -> None:
    (example,) = FENCE.findall(inspect.getdoc(public("edgeclf", name)) or "")
    tree = ast.parse(textwrap.dedent(example))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("edgeclf.")
    ]
    assert name in {ast.unparse(call.func).removeprefix("edgeclf.") for call in calls}
    for call in calls:
        function = public("edgeclf", ast.unparse(call.func).removeprefix("edgeclf."))
        keywords = {word.arg: word.value for word in call.keywords if word.arg}
        inspect.signature(function).bind(*call.args, **keywords)
