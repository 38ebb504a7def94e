"""What the page in a browser asks of a service: its own files, the models, and a model's file."""

from __future__ import annotations

import asyncio

from edgeclf.artifact import load_artifact
from edgeclf.service.asgi import Receive, Scope, Send, header, respond, respond_json
from edgeclf.service.catalog import Version
from edgeclf.service.openapi import model_entries
from edgeclf.service.page_files import PageFile, PageFiles
from edgeclf.service.problem import Problem
from edgeclf.service.service import Service


class PageRoutes:
    """The routes.

    Args:
        service: Whose they are.

    Raises:
        MissingDependencyError: The page is wanted, and not installed.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.files = PageFiles() if service.config.ui else None

    def wanted(self, scope: Scope) -> bool:
        """Whether the page is what a request for the start is answered with.

        A browser names HTML first; a probe, which names nothing or anything, gets what it always
        got.
        """
        return self.files is not None and b"text/html" in (header(scope, b"accept") or b"")

    async def index(self, scope: Scope, send: Send) -> None:
        """The page itself."""
        assert self.files is not None
        await _send_file(scope, send, self.files.index)

    async def file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A file of the page, or of the browser's engines."""
        found = None if self.files is None else self.files.get(scope["path"])
        if found is None:
            raise Problem(
                404, "no_page",
                f"There is no {scope['path']} here; the page is at /, where a service runs with "
                "--ui.",
            )  # fmt: skip
        await _send_file(scope, send, found)

    async def models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The models that are served, each with its versions and what its file says."""
        await respond_json(send, {"models": model_entries(self._service)})

    async def model_file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A model's file, for a browser that runs it itself; given out by --ui alone."""
        if self.files is None:
            raise Problem(
                404, "no_file",
                "This service does not give out its models' files; start it with --ui if it may.",
            )  # fmt: skip
        place = scope["path_params"]
        version = self._service.catalog.find(place["model"], place.get("version"))
        content = version.artifact.content or await asyncio.to_thread(_read_again, version)
        headers = [
            (b"etag", f'"{version.sha256}"'.encode()),
            (b"cache-control", b"no-store"),  # the page keeps it itself, under its hash
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await respond(send, 200, content, headers, b"application/octet-stream")


def _read_again(version: Version) -> bytes:
    """The bytes of a file that is not in memory any more.

    Raises:
        Problem: It is another one by now, or gone.
    """
    path = version.artifact.path
    artifact = None if path is None else load_artifact(path)
    if artifact is None or artifact.sha256 != version.sha256:
        raise Problem(
            503, "file_changed",
            f"The file of model {version.model!r} has changed since it was loaded; ask again.",
            retry_after_s=1,
        )  # fmt: skip
    return artifact.content


async def _send_file(scope: Scope, send: Send, file: PageFile) -> None:
    accepted = header(scope, b"accept-encoding") or b""
    # An engine's file is megabytes, read from the disk.
    body, headers = (
        file.answer(accepted) if file.path is None
        else await asyncio.to_thread(file.answer, accepted)
    )  # fmt: skip
    await respond(send, 200, body, headers, file.kind)
