"""Gives a job to a child process and takes its result, whatever the child prints, or dies of.

The protocol is that of `edgeclf.system.child`. A child is the leader of a process group of its own,
and the group ends with the call: on success, on an error, when time runs out and on Ctrl-C alike.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from edgeclf import errors
from edgeclf.errors import EdgeclfError, RuntimeLoadError
from edgeclf.system.child import PIPES, Message, pack, unpack
from edgeclf.system.limits import Limits

TIMEOUT_S = 120.0
_MOST_BYTES = 2**30  # of a result
_KEPT_BYTES = 2**16  # of what a child prints, from its end
_CHUNK_BYTES = 2**16
_LOOK_S = 0.05  # how often to see whether a child ended whose pipes somebody else holds open


class ChildError(EdgeclfError):
    """A child died, had not ended in time, or gave no result; whoever asked says what of.

    Args:
        reason: What became of it, as a clause: "it was ended by SIGSEGV".
        output: The end of what it printed.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        last = last_lines(output, 1)
        super().__init__(f"{reason}; the last it printed: {last}" if last else reason)
        self.reason = reason
        self.output = output


@dataclass(frozen=True)
class Answer:
    """What came of a child.

    Attributes:
        document: Its result, plain JSON types.
        payload: Bytes beside it.
        output: The end of what it printed, on stdout and stderr.
    """

    document: dict[str, Any]
    payload: bytes
    output: str


def last_lines(output: str, count: int) -> str:
    """The last lines that say something, on one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-count:])


def function_command(function: str) -> list[str]:
    """What serves a function of edgeclf, named as ``package.module:function``."""
    return [sys.executable, "-m", "edgeclf.system.child", function]


def run_child(
    command: Sequence[str],
    job: Mapping[str, Any],
    payload: bytes = b"",
    *,
    timeout_s: float | None = None,
    limits: Limits | None = None,
    cpus: Sequence[int] = (),
    variables: Mapping[str, str] | None = None,
) -> Answer:
    """Starts a process, gives it a job and waits for its result and its end.

    Args:
        command: The process: `function_command`, or another program that calls
            `edgeclf.system.child.serve`.
        job: Plain JSON types.
        payload: Bytes for it.
        timeout_s: Wall-clock time it has; `TIMEOUT_S` by default.
        limits: What it may take beside that.
        cpus: The only CPUs it runs on; empty for those of this process.
        variables: Its environment variables; by default those of this process.

    Raises:
        ChildError: It died, had not ended in time, or ended without a result.
        EdgeclfError: What the job raised there, in its own class.
    """
    envelope = {
        "job": job,
        "limits": None if limits is None else asdict(limits),
        "cpus": list(cpus),
    }
    given = pack(Message(envelope, payload))
    child = _Child(command, given, os.environ if variables is None else variables)
    try:
        child.talk(TIMEOUT_S if timeout_s is None else timeout_s)
    finally:
        child.end()
    return child.answer()


class _Child:
    """A process that was started, and what has come of it so far."""

    def __init__(self, command: Sequence[str], given: bytes, variables: Mapping[str, str]) -> None:
        self._left = memoryview(given)
        self._result, self._output = bytearray(), bytearray()
        job_read, self._job = os.pipe()
        self._from_child, result_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, pass_fds=(job_read, result_write),
                start_new_session=True, env={**variables, PIPES: f"{job_read},{result_write}"},
            )  # fmt: skip
        except OSError as exc:
            for pipe in (self._job, self._from_child):
                os.close(pipe)
            raise ChildError(f"{command[0]} cannot be started: {exc.strerror}") from exc
        finally:
            os.close(job_read)
            os.close(result_write)

    def talk(self, timeout_s: float) -> None:
        """Moves all bytes between the two until the child has ended.

        Everything at once: one that prints before it reads its job, or answers more than a pipe
        holds, never waits for this process while this process waits for it.
        """
        assert self._process.stdout is not None
        takers: dict[int, Callable[[bytes], None]] = {
            self._from_child: self._take_result,
            self._process.stdout.fileno(): self._take_output,
        }
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            for pipe in (self._job, *takers):
                os.set_blocking(pipe, False)
            selector.register(self._job, selectors.EVENT_WRITE, self._send)
            for pipe, take in takers.items():
                selector.register(pipe, selectors.EVENT_READ, partial(self._receive, pipe, take))
            while True:
                still_open = [pipe for pipe in takers if pipe in selector.get_map()]
                ended = self._has_ended(still_open)
                ready = [key for key, _ in selector.select(0 if ended else _LOOK_S)]
                for key in ready:
                    if not key.data():
                        selector.unregister(key.fd)
                if ended and not {key.fd for key in ready} & takers.keys():
                    return
                if time.monotonic() >= end:
                    raise ChildError(f"it had not ended after {timeout_s:g} s", self._text())

    def _has_ended(self, still_open: Collection[int]) -> bool:
        """Whether it has; then those that it started and left go as well."""
        try:
            # That both pipes were closed is how an end looks, a moment before it is one.
            self._process.wait(0 if still_open else _LOOK_S)
        except subprocess.TimeoutExpired:
            return False
        self._kill()
        return True

    def _send(self) -> bool:
        """Writes what the pipe takes; whether there is more. The pipe itself stays open."""
        try:
            self._left = self._left[os.write(self._job, self._left[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:  # it does not want the rest, and its end will say why
            return False
        return len(self._left) > 0

    @staticmethod
    def _receive(pipe: int, take: Callable[[bytes], None]) -> bool:
        """Reads what the pipe holds; whether there may be more."""
        try:
            content = os.read(pipe, _CHUNK_BYTES)
        except BlockingIOError:
            return True
        take(content)
        return bool(content)

    def _take_result(self, content: bytes) -> None:
        self._result += content
        if len(self._result) > _MOST_BYTES:
            raise ChildError(f"its result is larger than {_MOST_BYTES:,} bytes", self._text())

    def _take_output(self, content: bytes) -> None:
        self._output += content
        del self._output[:-_KEPT_BYTES]

    def end(self) -> None:
        """Ends the process and all that it has started, and closes the pipes."""
        if self._process.returncode is None:
            self._kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        os.close(self._job)
        os.close(self._from_child)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left of them
            os.killpg(self._process.pid, signal.SIGKILL)

    def answer(self) -> Answer:
        """The result of a child that has ended.

        Raises:
            ChildError: It has none, or none to be trusted.
            EdgeclfError: What it raised.
        """
        code = self._process.returncode
        if code < 0:
            raise ChildError(f"it was ended by {_signal_name(-code)}", self._text())
        if code > 0 or not self._result:
            when = "after its result" if self._result else "without a result"
            raise ChildError(f"it ended with code {code} {when}", self._text())
        try:
            document, payload = unpack(bytes(self._result))
        except ValueError as exc:
            raise ChildError(f"what it sent is not a result: {exc}", self._text()) from exc
        if "error" in document:
            raise _error_class(document["error"])(document["message"])
        if not isinstance(document.get("result"), dict):
            raise ChildError(
                f"what it sent is not a result: it has {', '.join(document) or 'nothing'}",
                self._text(),
            )
        return Answer(document["result"], payload, self._text())

    def _text(self) -> str:
        return self._output.decode(errors="replace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error_class(name: object) -> Callable[[str], EdgeclfError]:
    """The error of that name; of a class that needs more than a message, or is unknown, its kin."""
    kinds: dict[str, Callable[[str], EdgeclfError]] = {
        kind.__name__: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, EdgeclfError)
    }
    kinds["MissingDependencyError"] = RuntimeLoadError
    return kinds.get(str(name), EdgeclfError)
