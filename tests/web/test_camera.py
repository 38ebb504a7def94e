"""The view "Camera" in a real Chromium whose camera plays a film: answers, cuts, and faults."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from support import REPOSITORY, browsers, pages
from support.bad_links import Cut, bad_link
from support.browsers import Chromium, Firefox
from support.films import write_film
from support.pages import needs_chromium, needs_engines
from support.services import Running, serving

pytestmark = needs_chromium

WAIT_S = 20
PHOTOS = sorted((REPOSITORY / "examples" / "mugs" / "eval").rglob("001.jpg"))
# Keeps the number of each frame that was answered, but the last: the mark is gone when it is seen.
NUMBERS = """window.numbers = [];
new MutationObserver((changes) => {
  for (const { oldValue } of changes) if (oldValue) numbers.push(Number(oldValue));
}).observe(document.getElementById("camera-answer"),
           { attributeFilter: ["data-sequence"], attributeOldValue: true }); 1"""
LABELS = {"blue", "black", "white", "transparent"}


@pytest.fixture(scope="module")
def service(model_folder: Path) -> Iterator[Running]:
    with serving("--ui", model_folder / "mugs.int8.tflite") as running:
        yield running


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    folder = tmp_path_factory.mktemp("chromium")
    film = (Image.open(path) for path in PHOTOS for _ in range(10))
    options = write_film(folder / "film.y4m", film, (320, 240))
    with browsers.chromium(folder, *options) as browser:
        yield browser


@pytest.fixture
def page(window: Chromium, service: Running) -> Chromium:
    visit(window, service.url)
    return window


def visit(browser: Chromium, url: str) -> None:
    browser.goto("about:blank")
    browser.resize(1280, 900)
    browser.goto(f"{url}/#camera")
    until(browser, "document.querySelectorAll('#models .choice').length")
    browser.console.clear()


def until(browser: Chromium | Firefox, condition: str) -> Any:
    end = time.monotonic() + WAIT_S
    while not (found := browser.evaluate(condition)):
        if time.monotonic() > end:
            text = browser.evaluate("document.body.innerText")
            said = getattr(browser, "console", "")
            raise AssertionError(f"{condition} does not come true: {text}\n{said}")
        time.sleep(0.05)
    return found


def click(browser: Chromium | Firefox, selector: str) -> None:
    browser.evaluate(f"document.querySelector('{selector}').click()")


def counts(browser: Chromium) -> dict[str, int]:
    found: dict[str, int] = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#camera-counts [data-count]')]"
        ".map((each) => [each.dataset.count, Number(each.querySelector('dd').innerText)]))"
    )
    return found


def state(browser: Chromium | Firefox) -> str:
    return str(browser.evaluate("document.getElementById('camera-state').innerText"))


def answered(number: int, side: str = "answered") -> str:
    return (f"Number(document.querySelector('[data-count={side}] dd')?.innerText ?? 0)"
            f" >= {number}")  # fmt: skip


def test_what_the_camera_sees_is_answered_by_the_service(page: Chromium) -> None:
    click(page, "#camera-start")
    until(page, answered(12))
    title = page.evaluate("document.querySelector('#camera-answer h3').innerText")
    assert title in LABELS
    assert state(page) == "connected; frames of 256 × 192, quality 80"
    plot = page.evaluate("document.querySelector('#camera-plot svg').getAttribute('aria-label')")
    assert plot.startswith("Age of the last ") and "95 of 100 below" in plot
    found = counts(page)
    assert found["here"] == found["late"] == found["refused"] == found["lost"] == 0
    assert 0 <= found["sent"] - found["answered"] <= 2
    assert until(page, "document.getElementById('live').innerText").startswith("Camera: ")
    click(page, "#camera-photo")
    until(page, "!document.getElementById('camera-taken').hidden")
    click(page, "#camera-taken a")
    until(page, "document.querySelectorAll('#cards .bars').length === 1")
    size = page.evaluate("(({naturalWidth: w, naturalHeight: h}) => [w, h])"
                         "(document.querySelector('#cards img'))")  # fmt: skip
    assert size == [320, 240]  # all that the camera gives
    until(page, "document.getElementById('camera-video').srcObject === null")  # it was left
    assert page.console == []


def test_it_is_read_at_any_width_and_in_the_dark(page: Chromium) -> None:
    click(page, "#camera-start")
    until(page, answered(3))
    for width, dark in ((360, True), (1280, False)):
        page.resize(width, 800, dark=dark)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) == 0
        assert page.evaluate(pages.FAINT) == []
    assert page.evaluate("document.querySelector('#camera-start').disabled")
    click(page, "#camera-stop")
    assert state(page) == "" and not page.evaluate(
        "document.querySelector('#camera-start').disabled"
    )
    assert page.evaluate("document.getElementById('camera-stage').hidden")


@needs_engines
def test_this_browser_answers_while_the_link_is_gone_and_the_numbers_go_on(
    window: Chromium, service: Running
) -> None:
    with bad_link(int(service.url.rpartition(":")[2])) as (link, begin):
        visit(window, f"http://127.0.0.1:{link.port}")
        window.evaluate(NUMBERS)
        click(window, "input[name=camera-mode][value=block]")
        click(window, "#camera-start")
        until(window, answered(5))
        assert not window.evaluate("document.getElementById('camera-failover').checked")
        click(window, "#camera-failover")
        until(window, "document.getElementById('engine-state').innerText.startsWith('ready')")
        cut = begin(link.play([Cut(0.2, 2.5, "reset")]))
        until(window, answered(5, "here"))
        assert "this browser answers meanwhile" in state(window)
        cut.result(WAIT_S)
        known = counts(window)["answered"]
        until(window, answered(known + 5))
        found, numbers = counts(window), window.evaluate("window.numbers")
        assert state(window).startswith("connected") and found["lost"] == found["late"] == 0
        click(window, "#camera-stop")
    assert len(numbers) == len(set(numbers))
    assert set(range(1, max(numbers) - 2)) <= set(numbers)  # two may be on their way


def test_nothing_is_sent_while_nobody_looks(page: Chromium, service: Running) -> None:
    click(page, "#camera-start")
    until(page, answered(3))
    hidden = ("Object.defineProperty(document, 'hidden', { value: %s, configurable: true });"
              "document.dispatchEvent(new Event('visibilitychange'))")  # fmt: skip
    page.evaluate(hidden % "true")
    until(page, "document.getElementById('camera-state').innerText.startsWith('paused')")
    end = time.monotonic() + WAIT_S
    while metric(service, "edgeclf_streams ") and time.monotonic() < end:
        time.sleep(0.05)
    before = metric(service, 'edgeclf_stream_frames_total{outcome="answered"}')
    time.sleep(0.5)
    assert metric(service, 'edgeclf_stream_frames_total{outcome="answered"}') == before
    page.evaluate(hidden % "false")
    known = counts(page)["answered"]
    until(page, answered(known + 3))
    assert state(page).startswith("connected")


def metric(running: Running, name: str) -> float:
    with urllib.request.urlopen(f"{running.url}/metrics") as found:
        lines = found.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


def test_where_no_websocket_passes_frames_go_by_requests(page: Chromium) -> None:
    page.evaluate("window.WebSocket = function () { throw new DOMException('', 'SecurityError') }")
    click(page, "#camera-start")
    until(page, answered(5))
    assert state(page).startswith("connected by single requests, as WebSockets are refused")
    assert counts(page)["late"] == 0


REFUSED = [
    ("NotAllowedError", "not allowed"), ("NotFoundError", "no camera here"),
    ("OverconstrainedError", "no camera here"), ("NotReadableError", "another program"),
    ("AbortError", "another program"), ("TypeError", "could not be opened: why"),
]  # fmt: skip


def test_a_camera_that_cannot_be_had_is_told_and_may_be_tried_again(page: Chromium) -> None:
    page.evaluate("window.real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices)")
    problem = "document.querySelector('#camera-problem:not([hidden])')?.innerText"
    for name, words in REFUSED:
        page.evaluate(
            "document.getElementById('camera-problem').hidden = true;"
            "navigator.mediaDevices.getUserMedia = () =>"
            f" Promise.reject(new DOMException('why', '{name}'))"
        )
        click(page, "#camera-start")
        assert words in until(page, problem)
        assert not page.evaluate("document.getElementById('camera-start').disabled")
    page.evaluate("navigator.mediaDevices.getUserMedia = window.real")
    click(page, "#camera-start")
    until(page, answered(2))
    assert page.evaluate("document.getElementById('camera-problem').hidden")
    track = "document.getElementById('camera-video').srcObject.getVideoTracks()[0]"
    page.evaluate(f"{track}.dispatchEvent(new Event('ended'))")
    assert "camera is gone" in until(page, problem)
    click(page, "#camera-start")
    until(page, answered(2))


def test_a_page_that_may_have_no_camera_says_why(page: Chromium) -> None:
    problem = "document.querySelector('#camera-problem:not([hidden])')?.innerText"
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined }); 1")
    click(page, "#camera-start")
    assert "gives pages no camera" in until(page, problem)
    page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false }); 1")
    click(page, "#camera-start")
    assert "plain HTTP" in until(page, problem + "?.includes('plain HTTP') && " + problem)
    page.evaluate("location.hash = 'pictures'")
    until(page, "!document.getElementById('pictures').hidden")


@pytest.mark.skipif(browsers.FIREFOX is None, reason="needs a Firefox: apt install firefox-esr")
def test_firefox_does_it_too(service: Running, tmp_path: Path) -> None:
    pretended = {"media.navigator.streams.fake": True, "media.navigator.permission.disabled": True}
    with browsers.firefox(tmp_path, pretended) as browser:
        browser.goto(f"{service.url}/#camera")
        until(browser, "document.querySelectorAll('#models .choice').length")
        click(browser, "#camera-start")
        until(browser, answered(5))
        assert state(browser).startswith("connected; frames of ")
