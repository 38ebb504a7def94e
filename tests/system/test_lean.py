"""What is left out of a verb's process, and of nobody else's."""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path

import pytest

from edgeclf.system.lean import importing, running_a_verb


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "edgeclf_test_extra"
    (tmp_path / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_a_package_is_left_out_in_a_verb_and_there_again_behind_it(package: str) -> None:
    with running_a_verb():
        with importing(without=(package, "json")):
            import json  # which was imported before

            assert json.loads("1") == 1
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(package)
        assert importlib.import_module(package).__name__ == package
        with importing(without=(package,)):
            assert importlib.import_module(package).__name__ == package


def test_nothing_is_left_out_elsewhere(package: str) -> None:
    with running_a_verb():
        pass
    with importing(without=(package,)):
        assert importlib.import_module(package).__name__ == package
    assert package in sys.modules
    assert gc.isenabled()


def test_garbage_is_looked_for_again_behind_an_import_that_fails() -> None:
    with pytest.raises(ModuleNotFoundError), importing(without=("edgeclf_test_none",)):
        assert not gc.isenabled()
        importlib.import_module("edgeclf_test_none")
    assert gc.isenabled()
