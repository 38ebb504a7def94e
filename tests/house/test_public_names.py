from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgeclf
from edgeclf.verbs import VERBS as VERB_TEXTS
from support import REPOSITORY

ROOT = REPOSITORY
PACKAGE = Path(edgeclf.__file__).parent
FRAMEWORKS = {
    "tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx", "ai_edge_litert", "tflite_runtime",
    "litert_quantizer", "matplotlib", "jinja2", "numpy", "PIL",
}  # fmt: skip
VERBS = {*VERB_TEXTS, "cli", "__main__"}
# What pyproject.toml leaves out of the device's wheel: "training", "train.py", ...
WORKSTATION = set(
    re.findall(
        r'"edgeclf/([\w.]+)"', (ROOT / "pyproject.toml").read_text().partition("exclude = [")[2]
    )
)


def imported_by(code: str) -> set[str]:
    program = f"import sys, json; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_all_is_sorted_and_every_name_exists() -> None:
    assert edgeclf.__all__ == sorted(edgeclf.__all__)
    for name in edgeclf.__all__:
        assert getattr(edgeclf, name) is not None
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
        "import edgeclf.convert, edgeclf, types; import edgeclf.convert as again; "
        "assert isinstance(edgeclf.convert, types.FunctionType), edgeclf.convert; "
        "assert again is edgeclf.convert; "
        "assert isinstance(sys.modules['edgeclf.convert'], types.ModuleType)"
    )
    imported_by(code)


def test_the_device_side_imports_nothing_of_the_workstation() -> None:
    workstation = {name.removesuffix(".py") for name in WORKSTATION}
    assert {"training", "converters", "reporting", "train"} <= workstation
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] in WORKSTATION or inside.name == "__init__.py":
            continue
        for name in edgeclf_imports(path):
            assert name.split(".")[1] not in workstation, f"{inside} imports {name}"


def test_the_devices_wheel_works_alone(model_folder: Path, photo: Path, tmp_path: Path) -> None:
    package = tmp_path / "edgeclf"
    shutil.copytree(PACKAGE, package)
    for name in WORKSTATION:
        path = package / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def edgeclf_alone(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgeclf", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for words in (
        ["--help"],
        ["inspect", model_folder / "mugs.int8.tflite"],
        ["verify", model_folder / "mugs.int8.tflite", "--data", photo.parent.parent],
        ["classify", model_folder / "mugs.int8.tflite", photo],
        ["profile", model_folder / "mugs.int8.tflite", "--seconds", "0.1"],
    ):
        done = edgeclf_alone(*words)
        assert done.returncode == 0, done.stderr
    for verb in sorted(VERB_TEXTS.keys() & {name.removesuffix(".py") for name in WORKSTATION}):
        done = edgeclf_alone(verb)
        assert done.returncode == 2
        assert f"'edgeclf {verb}' needs the package 'edgeclf-workstation'" in done.stderr
        assert "pip install 'edgeclf[" in done.stderr and "Traceback" not in done.stderr


def test_nothing_imports_a_verb() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if len(inside.parts) == 1 and inside.stem in VERBS | {"__init__"}:
            continue
        for name in edgeclf_imports(path):
            assert name.split(".")[1] not in VERBS - {"report"}, f"{inside} imports {name}"


def edgeclf_imports(path: Path) -> list[str]:
    """The edgeclf modules a file imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgeclf."):
            found.append(node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.module == "edgeclf":
            found += [f"edgeclf.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.startswith("edgeclf.")]
    return found


def test_the_root_links_show_the_two_pluggable_sides() -> None:
    for name in ("converters", "runtimes"):
        link = ROOT / name
        assert link.is_symlink() and not link.readlink().is_absolute()
        assert link.resolve() == ROOT / "edgeclf" / name
