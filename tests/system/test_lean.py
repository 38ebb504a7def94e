"""What is left out of a verb's process, and of nobody else's."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from edgeclf.measurement.jobs.base import ModelJob
from edgeclf.runtimes.fake import fake_artifact
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


@pytest.mark.parametrize("block", ["running_a_verb()", "nullcontext()"])
def test_the_runtime_of_keras_files_leaves_out_in_a_verb_what_is_imported_for_others(
    block: str,
) -> None:
    pytest.importorskip("keras")
    pytest.importorskip("pandas")
    program = (
        "import sys\n"
        "from contextlib import nullcontext\n"
        "from edgeclf.runtimes import import_runtime\n"
        "from edgeclf.system.lean import running_a_verb\n"
        f"with {block}:\n"
        "    import_runtime('tensorflow')\n"
        "print('pandas' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(block == "nullcontext()")]


def test_a_measured_process_can_import_as_a_verb_does_and_collects_garbage_as_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left_out = []

    def import_runtime(name: str) -> None:
        with importing(without=("edgeclf_test_none",)):
            left_out.append((name, "edgeclf_test_none" in sys.modules))

    monkeypatch.setattr("edgeclf.runtimes.import_runtime", import_runtime)
    job = ModelJob(model=fake_artifact(["dark", "bright"]), runtime="fake")  # type: ignore[arg-type]
    assert job.load_lean().labels == ("dark", "bright")
    assert left_out == [("fake", True)]
    assert gc.get_freeze_count() == 0
