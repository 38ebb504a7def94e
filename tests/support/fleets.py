"""A publisher, a static web server on loopback that can lie, and devices that update from it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact, load_artifact
from edgeclf.fleet.check import check_job
from edgeclf.fleet.folder import Folder
from edgeclf.fleet.provision import provision
from edgeclf.fleet.updating import Outcome, Run
from edgeclf.publishing.fleet import Fleet, Published, Terms
from edgeclf.publishing.repository import Repository
from edgeclf.registry.gates import Asked
from support.services import artifact, write

NAME = "shades"
AT_ONCE = Terms(probation_minutes=0)


class _Handler(http.server.SimpleHTTPRequestHandler):
    """A static server, with ranges, that does to some paths what `Web` says."""

    protocol_version = "HTTP/1.1"

    def __init__(self, web: Web, *words: Any) -> None:
        self._web = web
        super().__init__(*words, directory=str(web.folder))

    def do_GET(self) -> None:
        web, path = self._web, self.path.lstrip("/")
        web.asked.append((path, self.headers.get("Range")))
        place = web.folder / path
        content = web.instead.get(path)
        if content is None:
            if not place.is_file():
                self.send_error(404)
                return
            content = place.read_bytes()
        start = 0
        if web.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = web.cut.pop(path, None)
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Web:
    """The web server.

    Attributes:
        folder: What it shows.
        url: Where.
        asked: Path and range of each request.
        instead: What it shows for a path instead of the file.
        cut: After how many bytes it closes the connection, once.
        ranges: Whether it knows them.
    """

    folder: Path
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    instead: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    ranges: bool = True


@contextmanager
def shown(folder: Path) -> Iterator[Web]:
    """Shows a folder on a free port of loopback."""
    web = Web(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, web))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that had enough
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check_here(
    content: bytes, runtime: str, limits: Mapping[str, int], present: Path | None, frames: Path
) -> dict[str, Any]:
    """What the child does, without a child."""
    job = {"runtime": runtime, "limits": limits, "present": present and str(present),
           "frames": str(frames)}  # fmt: skip
    return check_job(job, content)[0]


@dataclass
class Scene:
    """A publisher's folder, its web server, and devices."""

    folder: Path
    web: Web

    @property
    def fleet(self) -> Fleet:
        return Fleet(self.folder / "fleet")

    def publish(self, version: str, made: Artifact | None = None, **words: Any) -> Published:
        """Orders a file of that version, for ``canary`` and without a trial unless said."""
        file = write(self.folder, made or artifact(NAME, version))
        given = {"name": NAME, "group": "canary", "terms": AT_ONCE, **words}
        return self.fleet.publish(file, asked=Asked(runtime="fake"), **given)

    def device(self, name: str = "d1", group: str = "canary", **words: Any) -> Device:
        """A device, provisioned."""
        made = Device(self.folder / name)
        root = self.folder / "fleet" / "public" / "metadata" / "1.root.json"
        provision(made.path, url=self.web.url, root=root, name=NAME, group=group, device=name,
                  runtime="fake", **words)  # fmt: skip
        return made


@dataclass
class Device:
    """A device's folder."""

    path: Path

    def update(self, check: Callable[..., dict[str, Any]] = check_here) -> Outcome:
        """One run of the updater."""
        return Run(Folder(self.path), check=check).go()

    @property
    def runs(self) -> str:
        """The version of the file that runs, read as whoever serves would."""
        path = Folder(self.path).current()
        assert path is not None
        return str(load_artifact(path).metadata.version)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """A fleet without orders, and its server."""
    made = Repository.create(folder / "fleet")
    with shown(made.public) as web:
        yield Scene(folder, web)
