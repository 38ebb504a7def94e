"""A deployment on this machine: started, compared, loaded, rolled back and ended."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NoReturn
from urllib.parse import urlsplit

from learning import chosen
from plan import NotHeld, Plan
from shipping import ALIAS, slug

import edgeclf
from edgeclf.datasets.photos import find_photos, sample_photos
from edgeclf.system import files
from edgeclf.system.progress import log

_PICTURES = 48
_EVERY_CLASS = 100_000
_SAME = 1e-6  # of a probability
_DEADLINE_MS = 250.0
_START_S = 120.0
_STOP_S = 30.0
_SWITCH_S = 30.0
_POLL_S = 1.0  # between two looks at the alias; a rollback waits for the next
_READY = re.compile(r"ready at (http://\S+) ")


def command_of(plan: Plan, port: int, log_file: Path) -> list[str]:
    """``edgeclf serve``, following the champion."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    return [
        sys.executable, "-m", "edgeclf", "serve", "--registry", f"models:/{slug(plan)}@{ALIAS}",
        "--tracking-uri", plan.registry, "--registry-cache", str(plan.out / "cache" / "registry"),
        "--poll", str(_POLL_S), "--port", str(port), "--log", str(log_file),
    ]  # fmt: skip


def serve(plan: Plan, port: int) -> NoReturn:
    """Becomes the service of the champion, which every signal reaches then."""
    folder = plan.out / "service"
    command = command_of(plan, port, folder / "requests.jsonl")
    os.execv(command[0], [*command, "--monitor-state", str(folder / "monitor.json")])


def deploy(plan: Plan, port: int) -> dict[str, Any]:
    """Starts the service, shows that it is the model that was validated, and stops it.

    Raises:
        ServiceError: It does not start, or does not follow the alias.
        NotHeld: It did not end well.
    """
    folder = plan.out / "deployment"
    pictures = _pictures(plan, folder / "pictures")
    with started(plan, port) as service:
        log(f"  the service is ready at {service.url}")
        answers = compare(plan, service.url, pictures)
        rate, seconds = plan.size.load
        asked = edgeclf.LoadConfig(rate=rate, seconds=seconds, deadline_ms=_DEADLINE_MS)
        loaded = edgeclf.load(f"{service.url}/classify", pictures, asked, out=folder / "load.json")
        edgeclf.report(folder / "load.json")
        edgeclf.monitor(service.url, out=folder / "monitoring.html")
        rollback = roll_back(plan, service.url, pictures)
        code = service.stop()
    if code:
        raise NotHeld(f"The service ended with {code} after SIGTERM; expected 0.")
    step = loaded["steps"][0]
    record = {
        "model": edgeclf.load_artifact(plan.artifact(chosen(plan))).sha256,
        "answers": answers,
        "load": {
            "rate_per_s": rate, "seconds": seconds, "offered": step["offered"],
            "not_in_time": 1 - step["on_time"] / step["offered"],
            "latency_ms": step["latency_ms"],
        },
        "rollback": rollback,
    }  # fmt: skip
    files.write_json(folder / "deployment.json", record)
    return record


class Service:
    """A process that serves, at an address.

    Args:
        process: It, ready.
        url: Where.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    def stop(self) -> int:
        """Lets it drain and end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_S)


@contextmanager
def started(plan: Plan, port: int) -> Iterator[Service]:
    """The service, from when it is ready; gone afterwards, whatever happened."""
    log_file = plan.out / "deployment" / "requests.jsonl"
    command = [*command_of(plan, port, log_file), "--drain-s", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        watchdog = threading.Timer(_START_S, process.kill)
        watchdog.start()
        last: deque[str] = deque(maxlen=5)
        try:
            assert process.stderr is not None
            url = _address(process, last)
            watchdog.cancel()
            threading.Thread(target=last.extend, args=(process.stderr,), daemon=True).start()
            yield Service(process, url)
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], last: deque[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := _READY.search(line):
            return found[1]
        last.append(line)
    said = "".join(last).strip() or "it said nothing"
    raise edgeclf.ServiceError(f"The service did not start: {said}")


def _pictures(plan: Plan, folder: Path) -> Path:
    """Some validation pictures as files in one folder: the test pictures stay closed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    photos = sample_photos(find_photos(plan.table("val")), _PICTURES, plan.seed)
    for number, path in enumerate(photos.paths):
        shutil.copyfile(path, folder / f"{number:03d}{path.suffix}")
    return folder


def ask(connection: http.client.HTTPConnection, content: bytes) -> dict[str, Any]:
    """What the service says of the bytes of a picture."""
    connection.request("POST", f"/classify?top={_EVERY_CLASS}", content)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        words = body.decode(errors="replace")
        raise edgeclf.ServiceError(f"The service answered {response.status}: {words}")
    return dict(json.loads(body))


def _connect(url: str) -> Any:
    return closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10))


def compare(plan: Plan, url: str, pictures: Path) -> dict[str, Any]:
    """The service beside a classifier of the same file, on the same bytes."""
    different, largest = 0, 0.0
    paths = sorted(pictures.iterdir())
    with edgeclf.Classifier(plan.artifact(chosen(plan))) as classifier, _connect(url) as connection:
        sha256 = classifier.artifact.sha256
        for path in paths:
            content = path.read_bytes()
            expected, answer = classifier.classify(content), ask(connection, content)
            told = {each["label"]: each["probability"] for each in answer["top"]}
            change = max(abs(told[s.label] - s.probability) for s in expected.scores)
            largest = max(largest, change)
            same = answer["label"] == expected.label and answer["sha256"] == sha256
            different += not same or change > _SAME
    log(f"  {len(paths) - different} of {len(paths)} answers are the classifier's")
    return {"pictures": len(paths), "different": different, "max_change": largest}


def roll_back(plan: Plan, url: str, pictures: Path) -> dict[str, Any]:
    """Back to the version before and forward again, while a client asks without a pause."""
    versions = json.loads(plan.versions.read_text())
    if versions["before"] is None:
        log("  no rollback to show: there is one version")
        return {"asked": 0, "failed": 0, "back_s": None, "forward_s": None}
    contents = [path.read_bytes() for path in sorted(pictures.iterdir())]
    with _asking(url, contents) as client:
        try:
            back = _switch(plan, versions["name"], versions["before"], client)
        except BaseException:  # Ctrl-C, too: the champion is the one that was validated
            edgeclf.promote(
                versions["name"], versions["champion"], to=ALIAS, tracking_uri=plan.registry
            )
            raise
        forward = _switch(plan, versions["name"], versions["champion"], client)
    log(
        f"  rolled back to version {versions['before']} in {back:.1f} s and forward in "
        f"{forward:.1f} s; {client.failed} of {client.asked} requests failed meanwhile"
    )
    return {"asked": client.asked, "failed": client.failed, "back_s": back, "forward_s": forward}


class _Client:
    """Asks again and again; remembers who answered last, and what was not answered."""

    def __init__(self, url: str, contents: list[bytes]) -> None:
        self.asked = self.failed = 0
        self.version: str | None = None
        self.ended = threading.Event()
        self._url, self._contents = url, contents

    def run(self) -> None:
        with _connect(self._url) as connection:
            while not self.ended.wait(0.01):
                content = self._contents[self.asked % len(self._contents)]
                self.asked += 1
                try:
                    self.version = str(ask(connection, content)["version"])
                except (edgeclf.ServiceError, OSError, http.client.HTTPException, ValueError):
                    self.failed += 1
                    connection.close()  # the next request connects anew


@contextmanager
def _asking(url: str, contents: list[bytes]) -> Iterator[_Client]:
    client = _Client(url, contents)
    thread = threading.Thread(target=client.run, daemon=True)
    thread.start()
    try:
        yield client
    finally:
        client.ended.set()
        thread.join()


def _switch(plan: Plan, name: str, version: str, client: _Client) -> float:
    """Lets the alias name a version; the seconds until the service answers by it."""
    edgeclf.promote(name, version, to=ALIAS, tracking_uri=plan.registry)
    start = monotonic()
    while client.version != version:
        if monotonic() - start > _SWITCH_S:
            raise edgeclf.ServiceError(
                f"The service still answers by version {client.version} {_SWITCH_S:g} s after "
                f"{name}@{ALIAS} was set to {version}; see deployment/requests.jsonl."
            )
        sleep(0.05)
    return monotonic() - start
