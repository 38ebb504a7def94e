"""One stress test: ``edgeclf load`` in a child process, and what it tells of each second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from edgeclf.service.stress.asked import Asked
from edgeclf.system.child_process import last_lines

State = Literal["running", "done", "cancelled", "ended", "failed"]

_SAMPLE_S = 0.05
_STOP_S = 5.0
_START_S = 30.0  # beyond the steps: to start, to warm up, to wait for the last answers of each
_LAST_ANSWERS_S = 11.0
_KEPT_LINES = 20


class StressRun:
    """A test that runs, or has run; used on one event loop's thread.

    Args:
        asked: What is asked of the service.
        url: Where its pictures go.
        images: Bytes of an image file each.
        words: How ``edgeclf load`` is told so.
    """

    def __init__(
        self, asked: Asked, url: str, images: Sequence[bytes], words: Sequence[str]
    ) -> None:
        self.id = secrets.token_hex(8)
        self.asked = asked
        self.started = time.time()
        self.state: State = "running"
        self.reason: str | None = None
        self.buckets: list[dict[str, Any]] = []
        self.record: bytes | None = None
        self._url = url
        self._images = images
        self._words = words
        self._limit_s = _START_S + asked.most_steps * (asked.seconds + _LAST_ANSWERS_S)
        self._process: asyncio.subprocess.Process | None = None
        self._wanted: tuple[State, str] | None = None  # how it is to end, if not by itself
        self.news = asyncio.Event()  # of the next bucket, or the end; then it is another one
        self._queue: list[int] = []

    def entry(self) -> dict[str, Any]:
        """What is said of it, as JSON types."""
        return {
            "id": self.id, "state": self.state, "reason": self.reason, "started": self.started,
            "asked": self.asked.entry(), "has_record": self.record is not None,
        }  # fmt: skip

    def stop(self, state: State, reason: str) -> None:
        """Ends it soon, with what was measured until then.

        Args:
            state: What becomes of it.
            reason: Why, as a sentence.
        """
        if self.state == "running" and self._wanted is None:
            self._wanted = state, reason

    async def work(
        self,
        lent: AbstractContextManager[str],
        depth: Callable[[], int],
        leaving: Callable[[], bool],
    ) -> None:
        """Runs it to its end; whatever happens, the child has ended then.

        Args:
            lent: A key that the service knows meanwhile.
            depth: How many pictures are in the service.
            leaving: Whether the service is being stopped.
        """
        state: State = "failed"
        reason: str | None = "The load test could not be started."
        try:
            with tempfile.TemporaryDirectory(prefix="edgeclf-stress-") as folder, lent as key:
                place = Path(folder)
                command = await asyncio.to_thread(self._prepare, place, key)
                state, reason = await self._child(command, depth, leaving)
                self.record = await asyncio.to_thread(_read, place / "out.json")
        except OSError as exc:
            state, reason = "failed", f"The load test could not be run: {exc.strerror}."
        except asyncio.CancelledError:
            state, reason = "ended", "The service was stopped."
            raise
        finally:
            self.state, self.reason = state, reason
            self._tell()

    def _prepare(self, folder: Path, key: str) -> list[str]:
        """Writes pictures and key where only this account may read them; the child's command."""
        pictures = folder / "pictures"
        pictures.mkdir()
        for index, content in enumerate(self._images):
            (pictures / f"{index:03}.jpg").write_bytes(content)
        (folder / "key").write_text(key, encoding="ascii")
        return [
            sys.executable, "-m", "edgeclf", "load", self._url, "--images", str(pictures),
            "--key-file", str(folder / "key"), "--out", str(folder / "out.json"), "--stream",
            *self._words,
        ]  # fmt: skip

    async def _child(
        self, command: Sequence[str], depth: Callable[[], int], leaving: Callable[[], bool]
    ) -> tuple[State, str | None]:
        # In a session of its own: Ctrl-C is for the service, which then ends it in good order.
        process = self._process = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        lines: list[str] = []
        reading = [asyncio.create_task(self._read_buckets(process)),
                   asyncio.create_task(_read_lines(process, lines))]  # fmt: skip
        try:
            await self._attend(process, depth, leaving)
            await asyncio.gather(*reading)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            for each in reading:
                each.cancel()
        if self._wanted is not None:
            return self._wanted
        if process.returncode == 0:
            return "done", None
        last = last_lines("\n".join(lines), 1).removeprefix("edgeclf: ")
        return "failed", last or f"The load test ended with {process.returncode}."

    async def _attend(
        self,
        process: asyncio.subprocess.Process,
        depth: Callable[[], int],
        leaving: Callable[[], bool],
    ) -> None:
        """Looks at the queue, and whether it is time to end, until the child has ended."""
        ended = asyncio.create_task(process.wait())
        limit = time.monotonic() + self._limit_s
        stopping: float | None = None
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=_SAMPLE_S)
                self._queue.append(depth())
                now = time.monotonic()
                if leaving():
                    self.stop("ended", "The service was stopped.")
                if now > limit:
                    self.stop("failed", f"It had not ended after {self._limit_s:.0f} s.")
                if self._wanted is None:
                    continue
                with contextlib.suppress(ProcessLookupError):  # it has ended just now
                    if stopping is None:
                        stopping = now
                        process.send_signal(signal.SIGINT)  # so that it writes what it has
                    elif now > stopping + _STOP_S:
                        process.kill()
        finally:
            ended.cancel()

    async def _read_buckets(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            bucket = json.loads(line)
            depths, self._queue = self._queue or [0], []
            bucket["queue"] = {"mean": sum(depths) / len(depths), "most": max(depths)}
            self.buckets.append(bucket)
            self._tell()

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


async def _read_lines(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        lines.append(line.decode(errors="replace"))
        del lines[:-_KEPT_LINES]


def _read(path: Path) -> bytes | None:
    """The record; None where there was nothing to write one of."""
    return path.read_bytes() if path.exists() else None
