"""Hot swaps under load: does a request fail, is an answer another version's, does memory grow?

A service watches a folder. Clients ask without a pause while version after version, in turns of two
networks, is written there, loaded by the admin route and switched to, and the one before the last
is removed. Each answer must name a version that there is, with its file's SHA-256, its labels and
its network's probability. Then the same with a service that keeps its engines, which must be found.

    python benchmarks/swap_soak.py --artifacts DIR
"""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from shared import Figure, finish, parse, photos

from edgeclf import Classifier, load_artifact
from edgeclf.artifact import Artifact, seal_artifact
from edgeclf.system import files

NETWORKS = ("mugs.int8.tflite", "mugs.fp32.tflite")
CLIENTS = 4
PICTURES = 16
WARM_UP = 0.1  # share of the swaps after which growth is counted
GROWTH_PERCENT = 5.0
LEAKING = """
import edgeclf.service.versions as versions
from edgeclf.cli import main
kept = []
versions.close_engines = kept.extend
raise SystemExit(main())
"""
# Probabilities are rounded to float32 and printed in full; the two networks differ by far more.
TOLERANCE = 1e-6


@dataclasses.dataclass
class Soak:
    """What came of a run."""

    swaps: int = 0
    requests: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)
    swap_s: list[float] = dataclasses.field(default_factory=list)
    rss_mb: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth_percent(self) -> float:
        """Of resident memory, from the first tenth after the warm-up to the last one."""
        counted = self.rss_mb[round(len(self.rss_mb) * WARM_UP) :]
        part = max(1, len(counted) // 10)
        first, last = statistics.median(counted[:part]), statistics.median(counted[-part:])
        return (last / first - 1) * 100


@dataclasses.dataclass(frozen=True)
class Network:
    artifact: Artifact
    answers: list[tuple[str, float]]  # class and probability of each picture

    @classmethod
    def of(cls, path: Path, pictures: list[bytes]) -> Network:
        with Classifier(path, threads=1) as classifier:
            found = [classifier.classify(picture) for picture in pictures]
        answers = [(each.label, each.probability) for each in found]
        return cls(load_artifact(path), answers)

    def version(self, number: int) -> Artifact:
        """The same network and certificate as another version, with labels that say which."""
        metadata = self.artifact.metadata
        labels = tuple(f"{label}@{number}" for label in metadata.labels)
        return seal_artifact(
            self.artifact.content,
            dataclasses.replace(metadata, name="mugs", version=str(number), labels=labels),
        )


@contextmanager
def service(folder: Path, *, leaking: bool) -> Iterator[tuple[int, int]]:
    """A service of a folder; its process and port."""
    program = ["-c", LEAKING] if leaking else ["-m", "edgeclf"]
    command = [sys.executable, *program, "serve", "--models", str(folder), "--port", "0",
               "--watch", "0.5", "--queue", "256"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"ready at http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise SystemExit(f"the service ended with {process.wait()}")
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        try:
            yield process.pid, int(found[1])
        finally:
            process.terminate()
            process.wait(60)


def rss_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


def soak(networks: list[Network], pictures: list[bytes], swaps: int, requests: int, seconds: float,
         *, leaking: bool) -> Soak:  # fmt: skip
    found = Soak()
    shas: dict[str, str] = {}
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put(folder, networks, 1, shas)
        with service(folder, leaking=leaking) as (pid, port):
            asked = [0] * CLIENTS

            def ask(index: int) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                while not stop.is_set():
                    which = asked[index] % len(pictures)
                    asked[index] += 1
                    try:
                        connection.request("POST", "/classify?top=1", pictures[which])
                        response = connection.getresponse()
                        body = response.read()
                    except (OSError, http.client.HTTPException) as exc:
                        found.failed.append(repr(exc))
                        return
                    if response.status != 200:
                        found.failed.append(body.decode())
                    elif not is_right(json.loads(body), which, networks, shas):
                        found.wrong.append(body.decode())

            threads = [threading.Thread(target=ask, args=(index,)) for index in range(CLIENTS)]
            start = time.monotonic()
            for thread in threads:
                thread.start()
            admin = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            # Swaps keep pace with requests, so that both are done at the same time.
            while found.swaps < swaps or sum(asked) < requests:
                if time.monotonic() - start > seconds:
                    break
                if found.swaps >= swaps or found.swaps * requests > sum(asked) * swaps:
                    time.sleep(0.01)
                    continue
                swap(admin, folder, networks, found.swaps + 2, shas, found)
                found.rss_mb.append(rss_mb(pid))
            stop.set()
            for thread in threads:
                thread.join()
            found.requests = sum(asked)
            found.seconds = time.monotonic() - start
    return found


def put(folder: Path, networks: list[Network], number: int, shas: dict[str, str]) -> str:
    artifact = networks[number % len(networks)].version(number)
    shas[str(number)] = artifact.sha256
    path = f"mugs/{number}/mugs.tflite"
    (folder / path).parent.mkdir(parents=True)
    files.write_bytes(folder / path, artifact.content)
    return path


def swap(admin: http.client.HTTPConnection, folder: Path, networks: list[Network], number: int,
         shas: dict[str, str], found: Soak) -> None:  # fmt: skip
    path = put(folder, networks, number, shas)
    start = time.monotonic()
    admin.request("POST", "/admin/models/mugs/load", json.dumps({"path": path}),
                  {"content-type": "application/json"})  # fmt: skip
    response = admin.getresponse()
    answer = json.loads(response.read())
    found.swap_s.append(time.monotonic() - start)
    found.swaps += 1
    if answer.get("current") != str(number):
        found.failed.append(f"the swap to {number}: {answer}")
    before = folder / "mugs" / str(number - 2)
    if before.exists():
        (before / "mugs.tflite").unlink()
        before.rmdir()


def is_right(answer: dict[str, Any], which: int, networks: list[Network],
             shas: dict[str, str]) -> bool:  # fmt: skip
    number = answer["version"]
    label, probability = networks[int(number) % len(networks)].answers[which]
    return bool(
        answer["sha256"] == shas[number]
        and answer["label"] == f"{label}@{number}"
        and abs(answer["top"][0]["probability"] - probability) <= TOLERANCE
    )


def small(path: Path) -> bytes:
    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.convert("RGB").resize((128, 128)).save(buffer, "JPEG")
    return buffer.getvalue()


def main() -> int:
    args = parse(__doc__, swaps=(1000, "how many"), requests=(100_000, "at least"),
                 seconds=(1200.0, "at most, of which the control takes a fifth more"))  # fmt: skip
    pictures = [small(path) for path in photos(PICTURES)]
    networks = [Network.of(args.artifacts / name, pictures) for name in NETWORKS]
    good = soak(networks, pictures, args.swaps, args.requests, args.seconds, leaking=False)
    control = soak(networks, pictures, max(20, args.swaps // 10), args.requests // 10,
                   args.seconds / 5, leaking=True)  # fmt: skip
    for each in [*good.failed, *good.wrong][:10]:
        print(each, file=sys.stderr)
    figures = [
        Figure("swaps", good.swaps, at_least=args.swaps),
        Figure("requests", good.requests, at_least=args.requests),
        Figure("requests and swaps that failed", len(good.failed), at_most=0),
        Figure("answers that are not those of the version they name", len(good.wrong), at_most=0),
        Figure("growth of resident memory", good.growth_percent, "%", at_most=GROWTH_PERCENT,
               note=f"{good.rss_mb[0]:.0f} MB at the first swap, {max(good.rss_mb):.0f} at most"),
        Figure("the same of a service that keeps its engines", control.growth_percent, "%",
               at_least=GROWTH_PERCENT, note=f"{control.swaps} swaps"),
        Figure("a swap, from the order to the answer, median",
               statistics.median(good.swap_s) * 1e3, "ms"),
        Figure("requests a second", good.requests / good.seconds, "1/s"),
    ]  # fmt: skip
    method = (
        f"{' and '.join(NETWORKS)} in turns, {CLIENTS} clients without a pause, pictures of "
        f"128x128; growth from the first tenth after {WARM_UP:.0%} of the swaps to the last tenth"
    )
    more = {"rss_mb": [round(value, 1) for value in good.rss_mb[:: max(1, args.swaps // 100)]],
            "rss_mb_control": [round(value, 1) for value in control.rss_mb]}  # fmt: skip
    return finish(__file__, figures, method, args.write, **more)


if __name__ == "__main__":
    raise SystemExit(main())
