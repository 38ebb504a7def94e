"""A PostgreSQL server of the tests' own: a temporary folder, a socket in it, and no port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_USER = "postgres"  # who runs it where the tests run as root, which it refuses
_START_S = 60.0


def binaries() -> Path | None:
    """Where the newest server's programs are; None where there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if (place := shutil.which("postgres")) is not None:
        found.append(Path(place).resolve().parent)
    whole = [path for path in found if (path / "initdb").exists()]
    return max(whole, key=lambda path: path.parent.name, default=None)


def reason_to_skip() -> str | None:
    """Why no server can be started here; None where one can."""
    if binaries() is None:
        return "needs the programs of a PostgreSQL server: apt-get install postgresql"
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            return "needs setpriv, as PostgreSQL does not run as root"
        if _USER not in {each.pw_name for each in pwd.getpwall()}:
            return f"needs the user {_USER}, as PostgreSQL does not run as root"
    return None


@contextmanager
def server() -> Iterator[str]:
    """Runs one; gives its address."""
    place = binaries()
    assert place is not None
    with tempfile.TemporaryDirectory(prefix="edgeclf-pg-") as folder:
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            for path in (Path(folder), data):
                shutil.chown(path, _USER, _USER)
        subprocess.run(
            [*_words(), place / "initdb", "-D", data, "-U", "edgeclf", "--auth=trust",
             "--encoding=UTF8", "--no-locale", "--no-sync"],
            check=True, capture_output=True, cwd=folder, timeout=_START_S,
        )  # fmt: skip
        with open(Path(folder) / "log", "wb") as log:
            process = subprocess.Popen(
                [*_words(), place / "postgres", "-D", data, "-k", folder, "-c",
                 "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=20"],
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        try:
            _wait(process, place / "pg_isready", folder)
            yield f"postgresql://edgeclf@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # ends connections too
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _words() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    return ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups")


def _wait(process: subprocess.Popen[bytes], asks: Path, folder: str) -> None:
    end = time.monotonic() + _START_S
    while subprocess.run([asks, "-q", "-h", folder], check=False, timeout=_START_S).returncode:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError((Path(folder) / "log").read_text())
        time.sleep(0.05)
