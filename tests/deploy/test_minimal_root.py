"""deploy/minimal_root.py: what comes into the image, at which path, and what stops the build."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from support import deployment

MODULE: dict[str, Any] = deployment.tool("deploy/minimal_root.py")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A system whose folders are merged, as Debian's are: lib is a link."""
    base = tmp_path / "base"
    (base / "usr" / "lib").mkdir(parents=True)
    (base / "lib").symlink_to("usr/lib")
    (base / "usr" / "lib" / "libx.so.1.0").write_bytes(b"code")
    (base / "usr" / "lib" / "libx.so.1").symlink_to("libx.so.1.0")
    return base


def test_a_file_comes_with_every_link_on_its_way(base: Path, tmp_path: Path) -> None:
    root = MODULE["Root"](tmp_path / "image")
    root.add(base / "lib" / "libx.so.1")
    made = tmp_path / "image" / base.relative_to("/")
    assert (made / "lib").readlink() == Path("usr/lib")
    assert (made / "usr" / "lib" / "libx.so.1").readlink() == Path("libx.so.1.0")
    assert (made / "lib" / "libx.so.1").read_bytes() == b"code"
    root.add(base / "usr" / "lib" / "libx.so.1.0")
    assert len(root.files) == 3


def test_a_link_to_elsewhere_brings_that_and_not_its_neighbours(base: Path, tmp_path: Path) -> None:
    elsewhere = base / "etc" / "alternatives"
    elsewhere.mkdir(parents=True)
    (elsewhere / "x").write_bytes(b"x")
    (elsewhere / "y").write_bytes(b"y")
    (base / "usr" / "x").symlink_to(elsewhere / "x")
    root = MODULE["Root"](tmp_path / "image")
    root.add(base / "usr" / "x")
    made = tmp_path / "image" / elsewhere.relative_to("/")
    assert (made / "x").read_bytes() == b"x" and not (made / "y").exists()


def test_what_no_service_needs_stays_behind(tmp_path: Path) -> None:
    for name in ("json/decoder.py", "test/test_json.py", "config-3.11/libpython.a", "libm.a",
                 "json/__pycache__/decoder.pyc", "site-packages/pip/main.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(MODULE["used"](tmp_path, MODULE["UNUSED"])) == {tmp_path / "json" / "decoder.py"}


def test_this_python_and_its_libraries_are_found() -> None:
    programs = list(MODULE["interpreter"]())
    assert Path(sys.executable).parent / "python3" in programs
    found = MODULE["libraries"]([Path(sys.executable)])
    assert any(path.name.startswith("libc.so") for path in found)
    assert any(path.name.startswith("ld-") for path in found)
    assert all(path.exists() for path in found)


def test_a_library_that_the_base_lacks_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ldd = tmp_path / "ldd"
    ldd.write_text("#!/bin/sh\necho '\tlibgone.so.1 => not found'\n")
    ldd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SystemExit, match=r"the base lacks .*: libgone\.so\.1"):
        MODULE["libraries"]([Path(sys.executable)])


def test_the_packages_that_files_are_from_are_named_and_those_of_folders_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = tmp_path / "dpkg-query"
    query.write_text("""#!/bin/sh
shift
for path; do case $path in
    /lib*) exit 9 ;;
    /bin/sh) echo "diversion by dash from: /bin/sh"; echo "dash: /bin/sh" ;;
    *) echo "libc6:amd64, base-files: $path" ;;
esac; done
""")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = MODULE["owners"]([Path("/lib"), Path("/bin/sh"), Path("/etc/hostname")])
    assert found == {"dash", "libc6:amd64", "base-files"}
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert MODULE["owners"]([Path("/bin/sh")]) == set()
