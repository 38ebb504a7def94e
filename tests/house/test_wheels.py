"""What the wheels hold, built as pip builds them from the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from support import REPOSITORY, wheels

PROJECTS = {
    "device": REPOSITORY,
    "fleet": REPOSITORY / "fleet",
    "workstation": REPOSITORY / "workstation",
    "server": REPOSITORY / "server",
    "web": REPOSITORY / "web",
}


def build(wheel: str, version: str, folder: Path) -> zipfile.ZipFile:
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(PROJECTS[wheel]))
    (path,) = builder.build(directory=str(folder), versions=[version])
    return zipfile.ZipFile(path)


def installed(archive: zipfile.ZipFile) -> set[str]:
    return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_every_wheel_holds_its_folders_and_no_file_is_left_over(tmp_path: Path) -> None:
    held = {}
    for wheel in PROJECTS:
        with build(wheel, "standard", tmp_path) as archive:
            held[wheel] = installed(archive)
        tops = {path.name for path in wheels.contents(wheel)}
        assert {name.split("/")[1] for name in held[wheel]} == tops
    assert "edgeclf/runtimes/litert.py" in held["device"]
    assert {"edgeclf/train.py", "edgeclf/converters/onnx.py"} <= held["workstation"]
    files = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "edgeclf").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set().union(*held.values()) == files
    assert sum(map(len, held.values())) == len(files)  # no file is in two


@pytest.mark.parametrize("wheel", PROJECTS)
def test_an_editable_install_brings_no_second_copy(wheel: str, tmp_path: Path) -> None:
    with build(wheel, "editable", tmp_path) as archive:
        (link,) = installed(archive)
        assert link.endswith(".pth") and archive.read(link).decode() == str(REPOSITORY)
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        requirements = archive.read(metadata).decode().partition("\n\n")[0]
    assert "Requires-Dist: edgeclf-" not in requirements
    if wheel == "device":
        assert "Requires-Dist: keras" in requirements  # the extras are still there
        with build(wheel, "standard", tmp_path) as archive:
            standard = archive.read(metadata)
        assert b"Requires-Dist: edgeclf-fleet" in standard
        assert b"Requires-Dist: edgeclf-workstation" in standard
        assert b"Requires-Dist: edgeclf-server" in standard
        assert b"Requires-Dist: edgeclf-web" in standard


@pytest.mark.parametrize(
    ("source", "wheel"),
    [
        ("import edgeclf.inference.classifier", "device"),
        ("def run():\n    from edgeclf.training import fit", "workstation"),
        ("from edgeclf.service.app import app", "server"),
        ("import edgeclf.fleet.folder", "fleet"),
        ("import edgeclf.fleet.folder, edgeclf.service.app", "server"),  # which needs the fleet's
        ("from edgeclf.train import train", "workstation"),  # a verb that calls a verb
        ("if TYPE_CHECKING:\n    from edgeclf.training import fit", "device"),
    ],
)
def test_a_verb_goes_where_its_imports_are(source: str, wheel: str, tmp_path: Path) -> None:
    package = make_package(tmp_path, source)
    assert wheels.wheel_of(package / "verb.py") == wheel


def test_a_verb_of_two_wheels_is_refused(tmp_path: Path) -> None:
    source = "import edgeclf.training.fit, edgeclf.service.app"
    with pytest.raises(ValueError, match=r"verb\.py imports from server and workstation"):
        wheels.wheel_of(make_package(tmp_path, source) / "verb.py")


def make_package(folder: Path, verb: str) -> Path:
    package = folder / "edgeclf"
    for name, text in {
        "__init__.py": "", "verb.py": verb, "train.py": "import edgeclf.training.fit",
        "inference/classifier.py": "", "training/fit.py": "", "service/app.py": "",
        "fleet/folder.py": "",
    }.items():  # fmt: skip
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return package


def test_what_is_installed_is_told_from_what_was_built(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A build passes for another of its version, and the tests would try the old one."""
    environment, dist = tmp_path / "venv", tmp_path / "dist"
    venv.create(environment, symlinks=True)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    check = [sys.executable, REPOSITORY / "tools" / "check_installed.py", environment, dist]

    with build("device", "standard", dist) as wheel, build("fleet", "standard", dist):
        assert subprocess.call(check) == 1
        assert "none of the wheels" in capfd.readouterr().err
        wheel.extractall(packages)
    assert subprocess.call(check) == 0
    (packages / "edgeclf" / "errors.py").write_text("# of another build\n")
    (packages / "edgeclf" / "verify.py").unlink()
    assert subprocess.call(check) == 1
    told = capfd.readouterr().err.splitlines()
    assert [line.rsplit(" ")[-1] for line in told] == ["edgeclf/errors.py", "edgeclf/verify.py"]
    wheel_record = next(packages.glob("edgeclf-*.dist-info")).name
    (packages / wheel_record).rename(packages / "edgeclf-0.0.1.dist-info")
    assert subprocess.call(check) == 1
    assert f"{wheel_record}/RECORD" in capfd.readouterr().err
