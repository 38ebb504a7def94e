"""Registries for the tests: one in this process that speaks the part of MLflow's API we use."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from edgeclf.artifact import Artifact
from edgeclf.registry.tags import FILE, file_facts


@dataclass
class Tracking:
    """What the server has, and what it does with it; may be changed while it runs.

    Attributes:
        url: Where it is.
        files: Of each version its tags and its file's content.
        aliases: What each alias names.
        place: What the address of files begins with.
        cut: Bytes after which a download breaks off; None for none.
        ranges: Whether a download may begin in the middle.
        answer: Status and body instead of any other; None for what it has.
        heads: The headers of each request, and its path.
    """

    url: str = ""
    files: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    place: str = "mlflow-artifacts:/1/models"
    cut: int | None = None
    ranges: bool = True
    answer: tuple[int, bytes] | None = None
    heads: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add(self, made: Artifact, version: str, alias: str | None = "champion") -> None:
        """Registers an artifact."""
        tags = file_facts(made, made.metadata.name, None)
        self.files[version] = (tags, made.content)
        if alias is not None:
            self.aliases[alias] = version

    def get(self, path: str, query: dict[str, list[str]]) -> tuple[int, bytes]:
        """Status and body of a request."""
        if self.answer is not None:
            return self.answer
        if path == "/api/2.0/mlflow/registered-models/alias":
            version = self.aliases.get(query["alias"][0])
            if version is None:
                return 404, json.dumps({"error_code": "X", "message": "no such alias"}).encode()
            tags = [{"key": key, "value": value} for key, value in self.files[version][0].items()]
            return 200, json.dumps({"model_version": {"version": version, "tags": tags}}).encode()
        if path == "/api/2.0/mlflow/model-versions/get-download-uri":
            uri = f"{self.place}/m-{query['version'][0]}/artifacts"
            return 200, json.dumps({"artifact_uri": uri}).encode()
        found = re.fullmatch(
            r"/api/2\.0/mlflow-artifacts/artifacts/1/models/m-(\d+)/artifacts/(.+)", path
        )
        if found and found[1] in self.files and self.files[found[1]][0][FILE] == found[2]:
            return 200, self.files[found[1]][1]
        return 404, b"no JSON"


@contextmanager
def tracking(port: int = 0) -> Iterator[Tracking]:
    """Runs such a server on loopback."""
    made = Tracking()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            made.heads.append((parts.path, dict(self.headers)))
            status, body = made.get(unquote(parts.path), parse_qs(parts.query))
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and made.ranges and status == 200:
                first = int(wanted[1])
                status, body = (416, b"") if first >= len(body) else (206, body[first:])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            is_file = "mlflow-artifacts" in parts.path
            self.wfile.write(body[: made.cut] if is_file else body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def files_below(folder: Path) -> list[str]:
    """Every file's path in a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
