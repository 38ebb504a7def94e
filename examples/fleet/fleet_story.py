"""Plays a fleet on one machine: three devices, a good release, a bad one, and a way back."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import http.server
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import edgeclf
from edgeclf import fleet
from edgeclf.artifact import Artifact, load_artifact, save_artifact, seal_artifact
from edgeclf.cli import main as edgeclf_main
from edgeclf.fleet.orders import ALL, Order
from edgeclf.publishing.repository import Repository

NAME = "birds"
DEVICES = {"kitchen": "canary", "garden": "stable", "attic": "stable"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def shown(folder: Path) -> Iterator[str]:
    """Any static web server would do; this is Python's."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Story:
    """The fleet, and what is expected of it.

    Args:
        model: What the first release is.
        folder: Where everything is.
        runtime: What answers.
    """

    def __init__(self, model: Artifact, folder: Path, runtime: str) -> None:
        self.model, self.folder, self.runtime = model, folder, runtime
        self.surprises = 0

    def say(self, *words: object, code: int = 0) -> None:
        """Runs a command as it would be typed."""
        given = [str(word) for word in words]
        print(f"$ edgeclf {shlex.join(given)}".replace(f"{self.folder}/", ""), flush=True)
        found = edgeclf_main(given)
        self.expect(found == code, f"exit code {found}, and {code} was expected")

    def expect(self, holds: bool, words: str) -> None:
        if not holds:
            self.surprises += 1
            print(f"NOT AS EXPECTED: {words}", file=sys.stderr)

    def release(self, version: str) -> Path:
        """The model as another release: other bytes, the same answers."""
        metadata = dataclasses.replace(self.model.metadata, version=version)
        return self.save(seal_artifact(self.model.content, metadata), version)

    def lying(self, version: str) -> Path:
        """A release that does not compute what it was certified to: say, for other kernels."""
        certificate = dict(self.model.metadata.certificate or {})
        certificate["images"] = [
            {**each, "artifact": each["artifact"][::-1]} for each in certificate["images"]
        ]
        metadata = dataclasses.replace(
            self.model.metadata, version=version, certificate=certificate
        )
        return self.save(seal_artifact(self.model.content, metadata), version)

    def save(self, artifact: Artifact, version: str) -> Path:
        path = self.folder / f"{NAME}-{version}.{artifact.format}"
        save_artifact(artifact, path)
        return path

    def update(self, *names: str, code: int = 0) -> None:
        for name in names or DEVICES:
            self.say("update", self.folder / "devices" / name, code=code)

    def runs(self, **versions: str) -> None:
        for name, version in versions.items():
            path = fleet.current(self.folder / "devices" / name)
            found = load_artifact(path).metadata.version
            print(f"  {name} runs release {found}")
            self.expect(found == version, f"release {version} was expected on {name}")

    def publish(self, path: Path, code: int = 0) -> None:
        self.say("fleet", "publish", self.folder / "fleet", path, "--name", NAME, "--group",
                 "canary", "--minutes", "0", "--runtime", self.runtime, code=code)  # fmt: skip

    def promote(self) -> None:
        self.collect()
        self.say("fleet", "promote", self.folder / "fleet", NAME, "--to", "stable", "--if-good",
                 "canary", "--reports", self.folder / "reports.db", "--signed")  # fmt: skip

    def collect(self) -> None:
        """As a service would that devices post to; the first report of each says its key."""
        self.say("fleet", "collect", self.folder / "reports.db", self.folder / "reports",
                 "--open")  # fmt: skip

    def play(self) -> None:
        print("-- A repository, and the first release on three devices")
        self.say("fleet", "init", self.folder / "fleet")
        self.publish(self.release("1"))
        public, reports = self.folder / "fleet" / "public", self.folder / "reports"
        reports.mkdir()
        with shown(public) as url:
            for name, group in DEVICES.items():
                words = ["update", self.folder / "devices" / name, "--url", url, "--root",
                         public / "metadata" / "1.root.json", "--name", NAME, "--group", group,
                         "--device", name, "--runtime", self.runtime, "--report", reports,
                         "--sign"]  # fmt: skip
                self.say(*words)
            self.promote()
            self.update("garden", "attic")
            self.runs(kitchen="1", garden="1", attic="1")

            print("\n-- A good release: one device first, and the others by its report")
            self.publish(self.release("2"))
            self.update()
            self.runs(kitchen="2", garden="1", attic="1")
            self.promote()
            self.update("garden", "attic")
            self.runs(kitchen="2", garden="2", attic="2")

            print("\n-- A bad release: refused here, signed past that, and caught on arrival")
            bad = self.lying("3")
            self.publish(bad, code=1)
            self.sign_past_all_checks(load_artifact(bad))
            self.update(code=1)
            self.update("kitchen", code=2)  # remembered: it is not even brought again
            self.runs(kitchen="2", garden="2", attic="2")

            print("\n-- A way back, by a statement of its own")
            for group in ("canary", "stable"):
                self.say("fleet", "rollback", self.folder / "fleet", NAME, "--group", group, "--to",
                         "1", "--reason", "owls are called cats")  # fmt: skip
            self.update()
            self.runs(kitchen="1", garden="1", attic="1")
            self.collect()
            self.say("fleet", "status", self.folder / "fleet", "--reports",
                     self.folder / "reports.db", "--html", self.folder / "fleet.html")  # fmt: skip

    def sign_past_all_checks(self, bad: Artifact) -> None:
        """What somebody could do who has the publisher's keys."""
        repository = Repository(self.folder / "fleet")
        counter = repository.last_counter() + 1
        path = f"{NAME}/{counter}.{NAME}.{bad.format}"
        order = Order(path, bad.sha256, bad.size_bytes, NAME, counter, "3",
                      {"canary": ALL, "stable": ALL})  # fmt: skip
        with repository.changing():
            repository.write_orders(order, content=bad.content)
        print(f"(order {counter} is signed for everybody, past 'publish')")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an artifact that 'edgeclf convert' wrote")
    parser.add_argument("--out", type=Path, help="where to leave it all (default: nowhere)")
    parser.add_argument("--runtime", default="auto", help="what answers (default: auto)")
    args = parser.parse_args()
    try:
        model = load_artifact(args.model)
        if args.out is not None:
            if args.out.exists() and any(args.out.iterdir()):
                raise edgeclf.OptionError(f"{args.out} is not empty; name a new folder.")
            args.out.mkdir(parents=True, exist_ok=True)
            return play(model, args.out.resolve(), args.runtime)
        with tempfile.TemporaryDirectory() as folder:
            return play(model, Path(folder), args.runtime)
    except edgeclf.EdgeclfError as exc:
        print(f"fleet_story.py: {exc}", file=sys.stderr)
        return 2


def play(model: Artifact, folder: Path, runtime: str) -> int:
    story = Story(model, folder, runtime)
    story.play()
    print(f"\n{story.surprises or 'No'} surprises.")
    return 1 if story.surprises else 0


if __name__ == "__main__":
    raise SystemExit(main())
