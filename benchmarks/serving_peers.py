"""The servers that are measured, each started and asked as its documentation has it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import environments
from http_client import post
from server_process import ServerProcess, free_port
from shared import ROOT

APPS = Path(__file__).with_name("serving")


@dataclass(frozen=True)
class Peer:
    """A server.

    Attributes:
        name: For the reader.
        environment: Where it is installed, one of `environments.SERVERS`; empty for this one.
        command: What starts it, after the interpreter, given a folder of its own.
        ready: The path that answers 200 once it can answer pictures.
        path: Where pictures go.
        body: A picture's bytes to the body and its type.
        works: Whether it answers with the model, or only counts.
        requests: In a turn.
    """

    name: str
    environment: str
    command: Callable[[Path], list[str]]
    ready: str
    path: str
    body: Callable[[bytes], tuple[bytes, str]]
    works: bool = True
    requests: int = 200

    def start(self, model: Path, labels: list[str], folder: Path, cpus: set[int]) -> ServerProcess:
        """Starts it in a folder of its own, on a free port."""
        port = free_port()
        folder.mkdir()
        variables = {
            "BENCHMARK_MODEL": str(model) if self.works else "",
            "BENCHMARK_LABELS": json.dumps(labels),
            "BENCHMARK_PORT": str(port),
            "PYTHONPATH": str(APPS) if self.environment else f"{ROOT}:{APPS}",
            "PATH": f"{self.interpreter.parent}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "BENTOML_DO_NOT_TRACK": "True",
            "DO_NOT_TRACK": "1",
        }
        before = os.environ.copy()
        os.environ.update(variables)  # commands that prepare a folder need them as well
        try:
            words = self.command(folder)
        finally:
            os.environ.clear()
            os.environ.update(before)
        return ServerProcess(
            [str(self.interpreter), *words], port, self.ready, cpus, variables, folder
        )

    @property
    def interpreter(self) -> Path:
        if not self.environment:
            return Path(sys.executable)
        return environments.python_of(self.environment)

    def request(self, picture: bytes) -> bytes:
        """One request with a picture."""
        content, kind = self.body(picture)
        return post(self.path, content, kind)


def raw(picture: bytes) -> tuple[bytes, str]:
    return picture, "image/jpeg"


def _json(document: Callable[[str], object]) -> Callable[[bytes], tuple[bytes, str]]:
    def body(picture: bytes) -> tuple[bytes, str]:
        encoded = base64.b64encode(picture).decode()
        return json.dumps(document(encoded)).encode(), "application/json"

    return body


def _port() -> str:
    return os.environ["BENCHMARK_PORT"]


def _edgeclf(folder: Path) -> list[str]:
    return ["-m", "edgeclf", "serve", os.environ["BENCHMARK_MODEL"], "--port", _port()]


def _mlserver(folder: Path) -> list[str]:
    ports = {"http_port": int(_port()), "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    model = {"name": "mugs", "implementation": "mlserver_app.Mugs"}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return ["-c", "from mlserver.cli import main; main()", "start", str(folder)]


def _bentoml(folder: Path) -> list[str]:
    return ["-m", "bentoml", "serve", "bentoml_app:Mugs", "--port", _port(),
            "--host", "127.0.0.1", "--working-dir", str(APPS)]  # fmt: skip


def _mlflow(folder: Path) -> list[str]:
    python = environments.python_of("mlflow")
    subprocess.run([python, APPS / "mlflow_app.py", folder / "model"], check=True,
                   capture_output=True, cwd=folder)  # fmt: skip
    return ["-m", "mlflow", "models", "serve", "-m", str(folder / "model"), "-p", _port(),
            "--env-manager", "local"]  # fmt: skip


def _script(name: str) -> Callable[[Path], list[str]]:
    return lambda folder: [str(APPS / f"{name}_app.py")]


def _oip(encoded: str) -> object:
    of_image = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [encoded],
                "parameters": {"content_type": "base64"}}  # fmt: skip
    return {"inputs": [of_image]}


BARE = Peer("Starlette, counting", "", _script("starlette"), "/ready", "/count", raw,
            works=False, requests=4000)  # fmt: skip
LEAST = Peer("Starlette, a worker", "", _script("starlette"), "/ready", "/classify", raw,
             requests=600)  # fmt: skip
OURS = Peer("edgeclf serve", "", _edgeclf, "/healthz/ready", "/classify", raw, requests=600)
OTHERS = (
    Peer("LitServe", "litserve", _script("litserve"), "/health", "/predict",
         _json(lambda encoded: {"image": encoded})),
    Peer("MLServer", "mlserver", _mlserver, "/v2/models/mugs/ready", "/v2/models/mugs/infer",
         _json(_oip)),
    Peer("BentoML", "bentoml", _bentoml, "/readyz", "/classify", raw, requests=100),
    Peer("Ray Serve", "ray", _script("ray"), "/", "/", raw, requests=100),
    Peer("mlflow models serve", "mlflow", _mlflow, "/ping", "/invocations",
         _json(lambda encoded: {"dataframe_split": {"columns": ["image"], "data": [[encoded]]}}),
         requests=100),
)  # fmt: skip
