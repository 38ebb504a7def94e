from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import edgeclf
from edgeclf.errors import MissingDependencyError
from edgeclf.verbs import VERBS, import_verb
from support import REPOSITORY, wheels

FRAMEWORKS = {
    "tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx", "ai_edge_litert", "tflite_runtime",
    "litert_quantizer", "matplotlib", "jinja2", "numpy", "PIL",
}  # fmt: skip


def imported_by(code: str) -> set[str]:
    program = f"import sys, json; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_all_is_sorted_and_every_name_exists() -> None:
    workstation = importlib.util.find_spec("edgeclf.training")
    assert edgeclf.__all__ == sorted(edgeclf.__all__)
    for name in edgeclf.__all__:
        try:
            assert getattr(edgeclf, name) is not None
        except MissingDependencyError as exc:  # only the device's wheel is installed
            assert not workstation and exc.extra in {
                "train",
                "fleet",
                "convert",
                "report",
                "serve",
                "bulk",
                "all",
            }
    assert set(edgeclf.__all__) <= set(dir(edgeclf))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="clasify"):
        edgeclf.clasify  # noqa: B018


def test_every_public_error_is_exported() -> None:
    from edgeclf import errors

    public = {n for n, v in vars(errors).items() if isinstance(v, type) and n.endswith("Error")}
    assert public == {name for name in edgeclf.__all__ if name.endswith("Error")}


def test_import_loads_no_framework() -> None:
    assert not imported_by("import edgeclf") & FRAMEWORKS


def test_a_classifier_needs_only_numpy_and_pillow() -> None:
    loaded = imported_by("from edgeclf import Classifier, ImageSpec, load_artifact, verify")
    assert loaded & FRAMEWORKS == {"numpy", "PIL"}


def test_help_loads_no_framework() -> None:
    loaded = imported_by("import edgeclf.cli; edgeclf.cli._parser(None).format_help()")
    assert not loaded & FRAMEWORKS


def test_a_verb_stays_a_function_whoever_imports_its_module() -> None:
    code = (
        "import edgeclf.verify, edgeclf, types; import edgeclf.verify as again; "
        "assert isinstance(edgeclf.verify, types.FunctionType), edgeclf.verify; "
        "assert again is edgeclf.verify; "
        "assert isinstance(sys.modules['edgeclf.verify'], types.ModuleType)"
    )
    imported_by(code)


@pytest.fixture
def on_device(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts Python with what the device's wheel holds, and nothing else of edgeclf."""
    package = tmp_path / "edgeclf"
    package.mkdir()
    for path in wheels.contents(wheels.DEVICE):
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, package / path.name)

    def start(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return start


def test_the_devices_wheel_works_alone(
    on_device: Callable[..., subprocess.CompletedProcess[str]], model_folder: Path, photo: Path
) -> None:
    for words in (
        ["inspect", model_folder / "mugs.int8.tflite"],
        ["verify", model_folder / "mugs.int8.tflite", "--data", photo.parent.parent],
        ["classify", model_folder / "mugs.int8.tflite", photo],
        ["profile", model_folder / "mugs.int8.tflite", "--seconds", "0.1"],
    ):
        done = on_device("-m", "edgeclf", *words)
        assert done.returncode == 0, done.stderr


def test_a_device_says_which_extra_brings_the_other_verbs(
    on_device: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    listed = on_device("-m", "edgeclf", "--help")
    assert listed.returncode == 0 and all(verb in listed.stdout for verb in VERBS)
    lacking = {name: verb.extra for name, verb in VERBS.items() if verb.extra is not None}
    program = f"from edgeclf.cli import main; print(*(main([verb]) for verb in {[*lacking]}))"
    done = on_device("-c", program)
    assert done.stdout.split() == ["2"] * len(lacking)
    for line, (name, extra) in zip(done.stderr.splitlines(), lacking.items(), strict=True):
        home = (VERBS[name].module or name).partition(".")[0]
        assert f"'edgeclf {name}' needs the package 'edgeclf.{home}'" in line
        assert f"pip install 'edgeclf[{extra}]'" in line


def test_a_public_room_says_which_extra_brings_it(
    on_device: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = on_device("-c", "import edgeclf; edgeclf.fleet")
    assert "pip install 'edgeclf[fleet]'" in done.stderr


def test_a_device_holds_all_that_its_own_verbs_import(
    on_device: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    verbs = [name for name, verb in VERBS.items() if verb.extra is None]
    done = on_device("-c", "import " + ", ".join(f"edgeclf.{verb}" for verb in verbs))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "extra"),
    [("converters.source_spec", "convert"), ("training.config", "train"), ("networks.x", "all")],
)
def test_a_name_that_is_not_installed_names_its_extra(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"edgeclf.{module.partition('.')[0]}"
    monkeypatch.setattr(importlib, "import_module", partial(fail_to_import, folder))
    with pytest.raises(MissingDependencyError, match=f"edgeclf.{module} needs") as caught:
        import_verb(module)
    assert (caught.value.package, caught.value.extra) == (folder, extra)


def test_what_a_module_lacks_is_not_taken_for_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", partial(fail_to_import, "edgeclf.train_utils"))
    with pytest.raises(ModuleNotFoundError, match="train_utils") as caught:
        import_verb("train")
    assert not isinstance(caught.value, MissingDependencyError)


def fail_to_import(missing: str, module: str) -> None:
    raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)


def test_the_root_links_show_the_two_pluggable_sides() -> None:
    for name in ("converters", "runtimes"):
        link = REPOSITORY / name
        assert link.is_symlink() and not link.readlink().is_absolute()
        assert link.resolve() == REPOSITORY / "edgeclf" / name
