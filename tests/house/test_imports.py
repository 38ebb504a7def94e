"""The rooms import one another in one order, and each wheel works without the others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from edgeclf.system.imports import closure, imports_of, modules, sources_of
from edgeclf.verbs import VERBS
from support import REPOSITORY, wheels

# A room may import those before it.
ORDER = (
    "errors", "system", "image", "artifact", "runtimes", "inference", "datasets", "metrics",
    "trust", "explanation", "testing", "measurement", "fleet",
    "options", "networks", "comparison", "converters", "reporting", "training",
    "registry", "monitoring", "publishing", "tables", "service", "web", "verbs",
)  # fmt: skip
CORE = ORDER[: ORDER.index("inference") + 1]
CALLERS = {"__init__", "__main__", "cli", "verbs"}  # of the verbs, in their room
PACKAGE = REPOSITORY / "edgeclf"
MODULES = modules(PACKAGE)


def room(module: str) -> str:
    _, _, inside = module.partition(".")
    name, _, rest = (inside or "__init__").partition(".")
    verbs = {verb for verb in VERBS if VERBS[verb].module is None}
    return "verbs" if name in {*verbs, *CALLERS} or rest == "__main__" else name


def folder(module: str) -> str:
    """A module's folder; the modules at the top are apart from each other."""
    above = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if above == "edgeclf" else above


def cycle(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """Some names of which each imports the next, and the last the first; none where none do."""
    done, path = set[str](), list[str]()

    def visit(name: str) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name not in done:
            path.append(name)
            for each in sorted(imports.get(name, ())):
                if found := visit(each):
                    return found
            done.add(path.pop())
        return []

    return next((found for name in sorted(imports) if (found := visit(name))), [])


def test_every_room_has_its_place() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert {room(name) for name in MODULES} | folders <= set(ORDER)
    assert {name for names in wheels.FOLDERS.values() for name in names} <= set(ORDER)


def test_the_table_of_rooms_shows_this_order_and_their_wheels() -> None:
    page = (REPOSITORY / "CONTRIBUTING.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert tuple(name for row in rows for name in re.findall(r"`(\w+)`", row[0])) == ORDER
    for names, _, wheel in rows[:-1]:  # the verbs are in several
        of = {wheels.wheel_of(PACKAGE / name) for name in re.findall(r"`(\w+)`", names)}
        assert of == {wheel} or (len(of) > 1 and wheel == "their own")


def test_no_room_imports_a_later_one() -> None:
    place = ORDER.index
    assert [
        f"{name} imports {each}"
        for name in MODULES
        for each in sorted(imports_of(name, PACKAGE))
        if place(room(each)) > place(room(name))
    ] == []


def test_no_modules_and_no_folders_import_each_other() -> None:
    between = {name: imports_of(name, PACKAGE) for name in MODULES}
    assert cycle(between) == []
    folders: dict[str, set[str]] = {}
    for name, imported in between.items():
        here = folder(name)
        others = {folder(each) for each in imported}
        # A folder and those in it are one room; it may be entered from both sides.
        others = {each for each in others if not (within(each, here) or within(here, each))}
        folders.setdefault(here, set()).update(others)
    assert cycle(folders) == []


def within(inner: str, outer: str) -> bool:
    return f"{inner}.".startswith(f"{outer}.")


def test_a_cycle_is_found() -> None:
    assert cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == []
    assert cycle({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}) == ["b", "c", "d"]


def test_each_wheel_imports_itself_the_devices_and_what_it_needs_alone() -> None:
    def wheel(module: str) -> str:
        inside = Path(*module.split(".")[1:2])
        path = PACKAGE / inside
        return wheels.wheel_of(path if path.is_dir() else path.with_suffix(".py"))

    assert wheel("edgeclf.training.fit") == wheel("edgeclf.convert") == "workstation"
    assert wheel("edgeclf.runtimes.fake") == wheel("edgeclf.benchmark") == "device"
    assert [
        f"{name} imports {each}"
        for name in MODULES.keys() - {"edgeclf"}
        for each in imports_of(name, PACKAGE)
        if wheel(each) not in {wheel(name), "device", *wheels.NEEDS.get(wheel(name), ())}
    ] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_extra_brings_its_wheel(verb: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    home, extra = VERBS[verb].module, VERBS[verb].extra
    wheel = wheels.wheel_of(PACKAGE / (home.partition(".")[0] if home else f"{verb}.py"))
    assert (extra is None) == (wheel == wheels.DEVICE)
    brought, waiting = set[str](), [] if extra is None else [extra]
    while waiting:
        name = waiting.pop()
        brought.add(name)
        inner = [each[8:-1] for each in extras[name] if each.startswith("edgeclf[")]
        waiting += [each for names in inner for each in names.split(",")]
    assert extra is None or wheel in brought


@pytest.mark.parametrize("wheel", wheels.FOLDERS)
def test_a_wheel_asks_for_those_that_it_imports(wheel: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    needed = [f"edgeclf-{each}" for each in wheels.NEEDS.get(wheel, ())]
    own = tomllib.loads((REPOSITORY / wheel / "pyproject.toml").read_text())["project"]
    assert own["dependencies"] == ["edgeclf", *needed]
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for brought in extras.values():  # from a checkout, which has no index to ask for them
        names = [each.partition(" @")[0] for each in brought]
        assert f"edgeclf-{wheel}" not in names or set(needed) <= set(names)


def copy_of(names: Iterable[str], target: Path) -> None:
    for name in names:
        path = PACKAGE / name
        if path.is_dir():
            shutil.copytree(path, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.with_suffix(path.suffix or ".py").exists():
            shutil.copy(path.with_suffix(path.suffix or ".py"), target)


def test_the_device_core_is_importable_alone(tmp_path: Path) -> None:
    package = tmp_path / "edgeclf"
    package.mkdir()
    copy_of(["__init__", "verbs", *CORE], package)
    names = sorted(modules(package))
    assert {"edgeclf.inference.classifier", "edgeclf.runtimes.litert"} <= set(names)
    program = (
        "import importlib, json, sys; "
        f"[importlib.import_module(name) for name in {names}]; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frameworks = {"tensorflow", "keras", "onnxruntime", "ai_edge_litert", "tflite_runtime"}
    assert not frameworks & set(json.loads(done.stdout))


@pytest.fixture
def write_package(tmp_path: Path) -> Callable[..., Path]:
    def write(**sources: str) -> Path:
        package = tmp_path / "house"
        for name, text in {"": "", **sources}.items():
            parts = name.split("__")
            path = package.joinpath(*parts, "__init__.py") if name in {"", "room"} else (
                package.joinpath(*parts).with_suffix(".py"))  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return package

    return write


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import house.room.b", {"house.room.b"}),
        ("from house.room import b", {"house.room.b"}),
        ("from house.room.b import thing", {"house.room.b"}),
        ("from house.room import thing", {"house.room"}),
        ("from . import b", {"house.room.b"}),
        ("from .b import thing", {"house.room.b"}),
        ("from ..top import thing", {"house.top"}),
        ("def f():\n  if True:\n    import house.top", {"house.top"}),
        ("if TYPE_CHECKING:\n  import house.top\nelse:\n  import house.room.b", {"house.room.b"}),
        ("if typing.TYPE_CHECKING:\n  import house.top", set()),
        ("PLUGINS = {'b': 'house.room.b:Thing'}", {"house.room.b"}),
        ("run('house.top')", {"house.top"}),
        ("'see house.top'\n'house.room/1'\n'house.nothing'", set()),
        ("import json, house.gone\nfrom os import path", set()),
    ],
)
def test_every_kind_of_import_is_read(
    source: str, imported: set[str], write_package: Callable[..., Path]
) -> None:
    package = write_package(room="", room__a=source, room__b="", top="")
    assert imports_of("house.room.a", package) == imported


def test_a_closure_goes_on_and_stops_where_it_is_told(write_package: Callable[..., Path]) -> None:
    package = write_package(
        room="import house.low", room__a="import house.top", room__b="", low="", top="import house"
    )
    everything = {"house.room", "house.room.a", "house.low", "house.top"}
    assert closure("house.room.a", package=package) == everything
    assert closure("house.room.a", without=["house.top"], package=package) == (
        everything - {"house.top"}
    )
    assert closure("house.room.a", without=["house.room"], package=package) == set()
    (package / "room" / "table.json").touch()
    assert [str(p.relative_to(package)) for p in sources_of("house.room.a", package=package)] == [
        "low.py", "room/__init__.py", "room/a.py", "room/table.json", "top.py",
    ]  # fmt: skip


def test_the_page_on_architecture_lists_the_rooms_of_each_wheel() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `edgeclf(?:-(\w+))?`[^|]*\| (.*) \|$", page, re.MULTILINE))
    expected = {}
    for suffix, wheel in (("", wheels.DEVICE), *((wheel, wheel) for wheel in wheels.FOLDERS)):
        rooms = {path.name for path in wheels.contents(wheel) if path.is_dir()}
        rooms |= {"errors", "verbs"} if wheel == wheels.DEVICE else set()
        if rooms:
            expected[suffix] = sorted(rooms, key=ORDER.index)
    assert {suffix: re.findall(r"`(\w+)`", row) for suffix, row in rows.items()} == expected
