"""Real browsers for the tests of the page, driven by what they offer themselves.

Chromium speaks its DevTools protocol over a pipe, Firefox WebDriver BiDi over a WebSocket, of which
the few lines are here: so there is no driver to install that must fit the browser's version.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.browser import CHROMIUM

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
START_S = 60
_CALM = {  # what would ask, fetch or report
    "app.normandy.enabled": False, "app.update.auto": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False, "toolkit.telemetry.enabled": False,
    "browser.startup.homepage_override.mstone": "ignore", "services.settings.server": "",
    "browser.safebrowsing.downloads.remote.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False, "extensions.getAddons.cache.enabled": False,
}  # fmt: skip


class BrowserError(Exception):
    """The browser refused a command, or what it ran raised."""


class Chromium:
    """A headless Chromium with one page."""

    name = "chromium"

    def __init__(self, process: subprocess.Popen[bytes], sent: int, received: int) -> None:
        self.process = process
        self._sent = os.fdopen(sent, "wb", buffering=0)
        self._received = os.fdopen(received, "rb", buffering=0)
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.console: list[str] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.command(f"{domain}.enable")
        self.command("Emulation.setScrollbarsHidden", hidden=True)

    def command(self, method: str, **params: Any) -> Any:
        """Sends a command of the DevTools protocol and waits for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._sent.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            self._note(answer)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._received.read(1 << 16)
            if not part:
                raise BrowserError("the browser has ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            words = [str(each.get("value", each.get("description"))) for each in params["args"]]
            self.console.append(f"{params['type']}: {' '.join(words)}")
        elif event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(f"exception: {details.get('exception', details)}")
        elif event.get("method") == "Log.entryAdded":
            self.console.append(f"log: {params['entry']['text']} {params['entry'].get('url', '')}")

    def goto(self, url: str) -> None:
        """Opens an address and waits until it is loaded."""
        done = self.command("Page.navigate", url=url)
        if "errorText" in done:
            raise BrowserError(f"{url}: {done['errorText']}")
        self.evaluate("new Promise(r => document.readyState === 'complete' ? r() : "
                      "addEventListener('load', () => r()))")  # fmt: skip

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited, as JSON types."""
        done = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in done:
            found = done["exceptionDetails"].get("exception", {})
            raise BrowserError(found.get("description") or str(found.get("value")))
        return done["result"].get("value")

    def close(self) -> None:
        """Lets go of it."""
        self._sent.close()
        self._received.close()

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses and releases a key: its name, its Windows code, and the letter that it types."""
        for kind in ("keyDown", "keyUp"):
            letters = {"text": text} if text and kind == "keyDown" else {}
            self.command("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                         windowsVirtualKeyCode=code, **letters)  # fmt: skip

    def choose_files(self, selector: str, paths: list[Path]) -> None:
        """Gives files to an input as its dialog would."""
        root = self.command("DOM.getDocument")["root"]["nodeId"]
        node = self.command("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.command("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def resize(self, width: int, height: int, *, dark: bool = False, media: str = "") -> None:
        """Sets the window's size, and what its user prefers."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=1, mobile=False)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def picture(self, *, whole: bool = True) -> bytes:
        """The page as PNG."""
        done = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(done["data"])

    def offline(self, yes: bool) -> None:
        """Takes the network away, or gives it back."""
        self.command("Network.enable")
        self.command("Network.emulateNetworkConditions", offline=yes, latency=0,
                     downloadThroughput=-1, uploadThroughput=-1)  # fmt: skip


class Firefox:
    """A headless Firefox with one page."""

    name = "firefox"

    def __init__(self, process: subprocess.Popen[bytes], host: str, port: int) -> None:
        self.process = process
        self._socket = socket.create_connection((host, port), START_S)
        self._stream = self._socket.makefile("rb")
        self._number = 0
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._socket.sendall(
            f"GET /session HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            .encode()
        )  # fmt: skip
        while self._stream.readline().strip():
            pass
        self.command("session.new", capabilities={})
        self._context = self.command("browsingContext.getTree")["contexts"][0]["context"]

    def close(self) -> None:
        """Lets go of it."""
        self._stream.close()
        self._socket.close()

    def command(self, method: str, **params: Any) -> Any:
        """Sends a command of WebDriver BiDi and waits for its result."""
        self._number += 1
        self._send(json.dumps({"id": self._number, "method": method, "params": params}).encode())
        while True:
            answer = json.loads(self._receive())
            if answer.get("id") == self._number:
                if answer["type"] == "error":
                    raise BrowserError(f"{method}: {answer['message']}")
                return answer["result"]

    def _send(self, payload: bytes) -> None:
        size, mask = len(payload), secrets.token_bytes(4)
        head = bytes([0x81]) + (
            bytes([0x80 | size]) if size < 126
            else bytes([0x80 | 126]) + struct.pack(">H", size) if size < 65_536
            else bytes([0x80 | 127]) + struct.pack(">Q", size)
        )  # fmt: skip
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(head + mask + masked)

    def _receive(self) -> bytes:
        parts = []
        while True:
            first, size = self._stream.read(2)
            if size >= 126:
                form = ">H" if size == 126 else ">Q"
                (size,) = struct.unpack(form, self._stream.read(struct.calcsize(form)))
            parts.append(self._stream.read(size))
            if first & 0x80:
                return b"".join(parts)

    def goto(self, url: str) -> None:
        """Opens an address and waits until it is loaded."""
        self.command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, awaited, as JSON types."""
        done = self.command(
            "script.evaluate", target={"context": self._context}, awaitPromise=True,
            expression=f"Promise.resolve({expression}).then((x) => JSON.stringify(x ?? null))",
        )  # fmt: skip
        if done["type"] == "exception":
            raise BrowserError(done["exceptionDetails"]["text"])
        return json.loads(done["result"]["value"])


@contextmanager
def chromium(folder: Path, *options: str, limit_s: float = 4 * START_S) -> Iterator[Chromium]:
    """Starts a Chromium in a profile of its own, and ends it after a while, come what may."""
    assert CHROMIUM is not None
    # Above the numbers 3 and 4, which are what it reads from and writes to.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for pair in (os.pipe(), os.pipe()) for end in pair]
    to_it, sent, received, from_it = ends

    def place() -> None:
        os.dup2(to_it, 3)
        os.dup2(from_it, 4)

    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-dev-shm-usage", "--disable-background-networking",
               "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}",
               *options]  # fmt: skip
    with subprocess.Popen(
        command, pass_fds=(3, 4), preexec_fn=place,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(to_it)
        os.close(from_it)
        with _ended(process, limit_s):
            made = Chromium(process, sent, received)
            try:
                yield made
            finally:
                made.close()


@contextmanager
def firefox(folder: Path, preferences: Mapping[str, Any] | None = None) -> Iterator[Firefox]:
    """Starts a Firefox in a profile of its own, with preferences beside ours, and ends it."""
    assert FIREFOX is not None
    profile = folder / "profile"
    profile.mkdir()
    lines = [
        f"user_pref({json.dumps(k)}, {json.dumps(v)});"
        for k, v in {**_CALM, **(preferences or {})}.items()
    ]
    (profile / "user.js").write_text("\n".join(lines))
    command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile),
               "--remote-debugging-port", "0", "about:blank"]  # fmt: skip
    said = folder / "said"  # a pipe would have to be read until the last of its processes ends
    with said.open("wb") as log, subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=log,
        env={**os.environ, "HOME": str(folder)},
    ) as process, _ended(process, 4 * START_S):  # fmt: skip
        while (
            found := re.search(rb"BiDi listening on ws://([^:]+):(\d+)\n", said.read_bytes())
        ) is None:
            if process.poll() is not None:
                raise BrowserError("Firefox ended before it listened")
            time.sleep(0.05)
        made = Firefox(process, found[1].decode(), int(found[2]))
        try:
            yield made
        finally:
            made.close()


@contextmanager
def _ended(process: subprocess.Popen[bytes], limit_s: float) -> Iterator[None]:
    """Ends a browser, also one that hangs."""
    watchdog = threading.Timer(limit_s, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
