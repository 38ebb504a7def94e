"""What browsers, networks and people do to the page: it says what happened, and goes on."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support import browsers, pictures
from support.between import between
from support.browser import CHROMIUM
from support.browsers import Chromium
from support.pages import (
    REPLAYED,
    WAIT_S,
    needs_chromium,
    needs_engines,
    texts,
    until,
    where,
)
from support.pictures import save, scene
from support.services import Running, serving

pytestmark = [needs_chromium, needs_engines]

STATE = "document.getElementById('engine-state').innerText"
BAD = "document.querySelector('.side .verdict.bad')?.innerText"
ELSEWHERE = "edge.test"  # a name that this browser takes for this machine, and is not its own


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    assert CHROMIUM is not None
    folder = tmp_path_factory.mktemp("chromium")
    with browsers.chromium(folder, f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1") as browser:
        yield browser


def visit(browser: Chromium, url: str, models: int = len(REPLAYED)) -> None:
    browser.goto("about:blank")
    browser.goto(f"{url}/")
    until(browser, f"document.querySelectorAll('#models .choice').length === {models}")


def photo(folder: Path, name: str = "photo.jpg", content: bytes | None = None) -> Path:
    path = folder / name
    path.write_bytes(save(scene(), "JPEG") if content is None else content)
    return path


def answers(browser: Chromium, side: str, count: int = 1) -> None:
    """The page is as usable as before: a side answers the certificate's photo."""
    where(browser, side)
    browser.evaluate("document.getElementById('sample').click()")
    until(browser, f"document.querySelectorAll('.bars').length >= {count}")


@pytest.mark.parametrize("model", ["int8.tflite", "int8.onnx"])
def test_a_policy_against_webassembly_is_told(
    model: str, window: Chromium, service: Running
) -> None:
    def forbid(path: str, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        policies = {
            name: value.replace(" 'wasm-unsafe-eval'", "") for name, value in headers.items()
        }
        return policies, body

    with between(service.url, forbid) as url:
        visit(window, url)
        window.evaluate(f"document.querySelector('input[value=\"{model}\"]').click()")
        where(window, "browser")
        said = until(window, f"(t => t.includes('could not start') && t)({STATE})")
        assert "policy" in said and "WebAssembly" in said and "Let the server answer" in said
        answers(window, "server")


def test_a_policy_against_workers_is_told(window: Chromium, service: Running) -> None:
    def forbid(path: str, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        changed = {
            k: v.replace("worker-src 'self'", "worker-src 'none'") for k, v in headers.items()
        }
        return changed, body

    with between(service.url, forbid) as url:
        visit(window, url)
        where(window, "browser")
        assert "policy" in until(window, f"(t => t.includes('could not start') && t)({STATE})")
        answers(window, "server")


def test_a_model_that_is_damaged_on_the_way_is_told_and_fetched_again(
    window: Chromium, service: Running
) -> None:
    sent = []

    def damage(path: str, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        if not path.endswith("/file"):
            return headers, body
        sent.append(path)
        if len(sent) > 1:
            return headers, body
        return headers, body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]

    with between(service.url, damage) as url:
        visit(window, url)
        window.evaluate("caches.delete('edgeclf-models')")
        where(window, "browser")
        said = until(window, f"(t => t.startsWith('What came is not') && t)({STATE})")
        assert "damaged on the way" in said
        assert (
            window.evaluate("caches.open('edgeclf-models').then(c => c.keys()).then(k => k.length)")
            == 0
        )
        answers(window, "browser")
        assert len(sent) == 2


def test_a_cache_that_is_full_keeps_nothing_and_the_model_answers(
    window: Chromium, service: Running
) -> None:
    visit(window, service.url)
    window.evaluate("caches.delete('edgeclf-models')")
    window.command("Storage.overrideQuotaForOrigin", origin=service.url, quotaSize=1000)
    try:
        answers(window, "browser")
        assert "could not keep it" in window.evaluate(STATE)
    finally:
        window.command("Storage.overrideQuotaForOrigin", origin=service.url)


@pytest.mark.parametrize("when", ["at rest", "at work"])
def test_a_worker_that_the_browser_ends_is_told_and_started_anew(
    when: str, window: Chromium, service: Running, tmp_path: Path
) -> None:
    visit(window, service.url)
    answers(window, "browser")
    with in_worker(window) as evaluate:
        if when == "at work":
            # It answers nobody. Before it is asked, the page would just start another.
            evaluate("postMessage = () => { self.asked = true; }")
            window.choose_files("#files", [photo(tmp_path)])
            end = time.monotonic() + WAIT_S
            while not evaluate("self.asked === true"):
                assert time.monotonic() < end
                time.sleep(0.05)
        evaluate("close()")
    if when == "at work":
        said = until(window, BAD)
        assert said.startswith("The browser ended the engine") and "try again" in said
        window.evaluate("document.querySelector('.side .verdict.bad button').click()")
    answers(window, "browser", 2)


def test_a_model_that_goes_before_the_browser_has_it_is_told(
    window: Chromium, model_folder: Path
) -> None:
    files = [f"{name}={model_folder / f'mugs.{name}'}" for name in ("fp32.tflite", "int8.tflite")]
    with serving("--ui", *files) as running:
        visit(window, running.url, 2)
        window.evaluate("caches.delete('edgeclf-models')")
        first = window.evaluate("document.querySelector('input[name=model]:checked').value")
        gone = f"{running.url}/v2/repository/models/{first}/unload"
        window.evaluate(f"fetch('{gone}', {{ method: 'POST' }})")
        where(window, "browser")
        said = until(window, f"(t => /does not answer|not served any more/.test(t) && t)({STATE})")
        assert "Choose another one" in said or "Try again" in said
        other = "fp32.tflite" if first == "int8.tflite" else "int8.tflite"
        window.evaluate(f"document.querySelector('input[value=\"{other}\"]').click()")
        answers(window, "browser")


@contextmanager
def in_worker(browser: Chromium) -> Iterator[Callable[[str], Any]]:
    """Runs something in the engine's worker, as the browser's own tools do."""
    attach = {"waitForDebuggerOnStart": False, "flatten": True}
    browser.command("Target.setAutoAttach", autoAttach=True, **attach)
    found = browser.command("Target.getTargets", filter=[{"type": "worker"}])["targetInfos"]
    (worker,) = [each["targetId"] for each in found if each["url"].endswith("engine/worker.js")]
    session = browser.command("Target.attachToTarget", targetId=worker, flatten=True)["sessionId"]

    def evaluate(expression: str) -> Any:
        page, browser._session = browser._session, session
        try:
            return browser.evaluate(expression)
        finally:
            browser._session = page

    yield evaluate
    browser.command("Target.setAutoAttach", autoAttach=False, **attach)


def huge_png(width: int, height: int) -> bytes:
    """A whole PNG, one bit a pixel."""
    head = struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        pictures.png_chunk(kind, content)
        for kind, content in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    )


def test_200_megapixels_are_refused_on_both_sides(
    window: Chromium, service: Running, tmp_path: Path
) -> None:
    visit(window, service.url)
    where(window, "both")
    window.choose_files("#files", [photo(tmp_path, "huge.png", huge_png(20_000, 10_000))])
    until(window, "document.querySelectorAll('.side .verdict.bad').length === 2")
    server, browser = texts(window, ".side .verdict.bad")
    assert "200000000 pixels" in server.replace(",", "")
    assert "20000 × 10000 pixels" in browser and "Shrink it first" in browser
    answers(window, "both", 2)


def test_heic_is_offered_to_the_server(window: Chromium, service: Running, tmp_path: Path) -> None:
    heic = pictures.pictures().get("heic")
    if heic is None:
        pytest.skip("needs edgeclf[heic] to make one")
    visit(window, service.url)
    where(window, "browser")
    window.choose_files("#files", [photo(tmp_path, "photo.heic", heic.content)])
    said = until(window, BAD)
    assert said.startswith("This browser cannot decode HEI") and "Send it to the server" in said
    window.evaluate("document.querySelector('.side .verdict.bad button').click()")
    until(window, "document.querySelectorAll('.bars').length === 1")


def test_an_insecure_page_says_so_and_lets_the_server_answer(
    window: Chromium, service: Running
) -> None:
    visit(window, f"http://{ELSEWHERE}:{urlsplit(service.url).port}")
    assert not window.evaluate("isSecureContext")
    where(window, "browser")
    said = until(window, STATE)
    assert said.startswith("This page came over plain HTTP from another machine")
    window.evaluate("document.getElementById('browser-panel').open = true")
    panel = texts(window, "#capabilities li.no")
    assert any(line.startswith("Secure context is missing") for line in panel)
    answers(window, "server")
    # From there nobody may put the service under load, and that is told as well.
    window.evaluate("location.hash = 'stress'")
    until(window, "document.getElementById('stress-state').innerText.includes('role admin')")
