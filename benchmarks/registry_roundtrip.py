"""Registered, promoted, answered: how long after its alias does a version answer, and what fails?

A tracking server of MLflow and a service that polls it run as processes here. Clients ask without a
pause while versions of two networks are promoted in turns. Then the alias is set by hand to a
version whose certificate does not hold, which must answer nobody.

    python benchmarks/registry_roundtrip.py --artifacts DIR
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
from server_process import ServerProcess, free_port
from shared import Figure, finish, parse, photos

import edgeclf
from edgeclf import Classifier, VerificationError, load_artifact
from edgeclf.artifact import Artifact, save_artifact, seal_artifact
from edgeclf.trust.certificate import replay

NETWORKS = ("mugs.int8.tflite", "mugs.fp32.tflite")
CLIENTS = 2
LIMIT_S = 10.0
WATCHED_S = 15.0  # three looks of the service at the alias
NAME = "mugs"


class Asking:
    """Clients that ask one after the other until they are stopped."""

    def __init__(self, address: tuple[str, int], pictures: list[bytes]) -> None:
        self.versions: Counter[str] = Counter()
        self.failed: list[str] = []
        self.first: dict[str, float] = {}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(address, pictures)) for _ in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, address: tuple[str, int], pictures: list[bytes]) -> None:
        connection = http.client.HTTPConnection(*address, timeout=60)
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                connection.request("POST", "/classify?top=1", pictures[number % len(pictures)])
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as exc:
                self.failed.append(repr(exc))
                connection.close()
                continue
            if response.status != 200:
                self.failed.append(body.decode())
                continue
            version = json.loads(body)["version"]
            self.first.setdefault(version, time.monotonic())
            self.versions[version] += 1

    def wait(self, version: str, limit_s: float) -> float | None:
        """When a version first answered, by the monotonic clock; None if it does not."""
        end = time.monotonic() + limit_s
        while version not in self.first:
            if time.monotonic() > end:
                return None
            time.sleep(0.005)
        return self.first[version]

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def lying(made: Artifact, folder: Path) -> Path:
    """The same file with answers in its certificate that it does not give."""
    certificate = dict(made.metadata.certificate or {})
    certificate["images"] = [
        {**each, "artifact": each["artifact"][::-1]} for each in certificate["images"]
    ]
    metadata = dataclasses.replace(made.metadata, certificate=certificate)
    path = save_artifact(seal_artifact(made.content, metadata), folder / "lying.int8.tflite").path
    assert path is not None
    with Classifier(path, threads=1) as classifier:  # it is whole, and loads: that alone is wrong
        try:
            replay(classifier)
        except VerificationError:
            return path
    raise SystemExit("the certificate that was turned round holds all the same")


def register_unproven(path: Path, uri: str) -> str:
    """Registers a file past the verb, which would refuse it."""
    from edgeclf.registry.registering import register_artifact

    return register_artifact(load_artifact(path), NAME, uri, None).version


def main() -> int:
    args = parse(__doc__, promotions=(10, "how many"))
    set_alias = mlflow.MlflowClient.set_registered_model_alias
    set_at: list[float] = []

    def noted(*words: Any) -> Any:
        set_at.append(time.monotonic())
        return set_alias(*words)

    mlflow.MlflowClient.set_registered_model_alias = noted
    pictures = [path.read_bytes() for path in photos(16)]
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        uri = f"http://127.0.0.1:{port}"
        tracking = ServerProcess(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri",
             f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files"),
             "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            port, "/health", environment={"MLFLOW_DISABLE_TELEMETRY": "true"}, folder=folder,
        )  # fmt: skip
        try:
            found = measure(args, folder, uri, pictures, set_at)
        finally:
            tracking.stop()
    return finish(__file__, *found, args.write)


def measure(
    args: Any, folder: Path, uri: str, pictures: list[bytes], set_at: list[float]
) -> tuple[list[Figure], str]:
    register_s = []
    for index in range(args.promotions + 1):
        start = time.monotonic()
        edgeclf.register(args.artifacts / NETWORKS[index % 2], NAME, tracking_uri=uri)
        register_s.append(time.monotonic() - start)
    bad = register_unproven(lying(load_artifact(args.artifacts / NETWORKS[0]), folder), uri)
    edgeclf.promote(NAME, 1, tracking_uri=uri)
    port = free_port()
    service = ServerProcess(
        [sys.executable, "-m", "edgeclf", "serve", "--registry", f"models:/{NAME}@champion",
         "--tracking-uri", uri, "--registry-cache", str(folder / "cache"), "--port", str(port)],
        port,
    )  # fmt: skip
    try:
        asking = Asking(service.address, pictures)
        promote_s, after_s = [], []
        for number in range(2, args.promotions + 2):
            start = time.monotonic()
            edgeclf.promote(NAME, number, tracking_uri=uri)
            promote_s.append(time.monotonic() - start)
            at = asking.wait(str(number), 60)
            after_s.append(60.0 if at is None else at - set_at[-1])
        mlflow.MlflowClient(uri, uri).set_registered_model_alias(NAME, "champion", bad)
        asking.wait(bad, WATCHED_S)
        asking.stop()
    finally:
        service.stop()
    for each in asking.failed[:10]:
        print(each, file=sys.stderr)
    figures = [
        Figure("from the alias to the first answer, largest", max(after_s), "s", at_most=LIMIT_S,
               note=f"{len(after_s)} promotions"),
        Figure("the same, median", statistics.median(after_s), "s"),
        Figure("requests that failed meanwhile", len(asking.failed), at_most=0),
        Figure("requests", sum(asking.versions.values())),
        Figure("answers of a version whose certificate does not hold", asking.versions[bad],
               at_most=0, note=f"{WATCHED_S:g} s with the alias on it"),
        Figure("to register a file, median", statistics.median(register_s), "s"),
        Figure("to promote it, certificate alone, median", statistics.median(promote_s), "s"),
    ]  # fmt: skip
    method = (
        f"MLflow {mlflow.__version__} with SQLite and one worker, the service with its default "
        f"poll of 5 s, {CLIENTS} clients without a pause, {' and '.join(NETWORKS)} in turns; all "
        "processes share this machine's CPUs"
    )
    return figures, method


if __name__ == "__main__":
    raise SystemExit(main())
