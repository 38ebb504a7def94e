"""The stress test of the page in a real Chromium: from the form to the record, and what is told."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeclf.service.keys import add_key
from support import pages
from support.browsers import Chromium
from support.pages import needs_chromium, texts, until
from support.services import Listening, artifact, listening, serving, shade, write

pytestmark = needs_chromium
STATE = "document.getElementById('stress-state').innerText"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with pages.opened("chromium", tmp_path_factory.mktemp("chromium")) as browser:
        browser.resize(1280, 900)
        yield browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("models")
    with listening(write(folder, artifact()), ui=True, workers=1, max_stress_pictures=1) as made:
        yield made


def visit(browser: Chromium, url: str) -> None:
    browser.goto("about:blank")  # so that the same address is another visit
    browser.goto(f"{url}/#stress")
    until(browser, "document.querySelector('#models .choice') !== null")


def give(browser: Chromium, **fields: float) -> None:
    for name, value in fields.items():
        browser.evaluate(f"void (document.getElementById('stress-{name}').value = '{value}')")


def click(browser: Chromium, name: str) -> None:
    browser.evaluate(f"document.getElementById('stress-{name}').click()")


def test_a_test_is_watched_from_the_form_to_the_record(
    window: Chromium, running: Listening, tmp_path: Path
) -> None:
    window.console.clear()
    visit(window, running.url)
    until(window, "document.getElementById('stress-what').innerText.includes('certificate')")
    give(window, rate=40, clients=2, seconds=1.2)
    window.evaluate("document.getElementById('stress-rate').focus()")
    window.press("Enter", 13, "\r")  # as any form
    until(window, f"{STATE}.startsWith('Running: 2 clients')")
    until(window, "document.querySelectorAll('#stress-latency circle').length > 0")
    until(window, f"{STATE} === 'Done.'")
    assert texts(window, "#stress-steps th[scope=row]") == ["2 clients", "40/s"]
    assert texts(window, "#stress-steps tr:last-child td")[2:4] == ["100.0 %", "0.0 %"]
    first, second, *_ = texts(window, "#stress-findings li")
    assert first.startswith("2 clients that wait: ") and second.startswith("40/s on schedule: ")
    assert "coordinated omission" in window.evaluate("document.body.innerText")
    captions = texts(window, ".plots figcaption")
    assert "half" in captions[0] and "refused" in captions[1]
    assert "closed loop: 2 clients" in captions[3] and "open loop: 40/s" in captions[3]
    # The record that is saved is the one that 'edgeclf load' writes.
    window.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    click(window, "save")
    end = time.monotonic() + 20
    while not (saved := list(tmp_path.glob("load-*.json"))):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert '"schema": "edgeclf.load/1"' in saved[0].read_text()
    # Twice what the clients got is asked for by a button.
    click(window, "twice")
    assert float(window.evaluate("document.getElementById('stress-rate').value")) > 4
    assert "over" in window.evaluate("document.getElementById('live').innerText")
    until(window, "document.querySelectorAll('#stress-runs li').length === 1")
    assert window.console == []


def test_a_sweep_shows_latency_by_the_rate_and_can_be_shown_again(
    window: Chromium, running: Listening
) -> None:
    visit(window, running.url)
    click(window, "start")  # the fields of the other way are not in the way
    until(window, f"{STATE}.startsWith('Running')")
    click(window, "stop")
    until(window, f"{STATE}.startsWith('Ended by hand')")
    window.evaluate("document.querySelector('input[value=sweep]').click()")
    give(window, clients=0, seconds=0.7, **{"from": 20, "to": 40})
    click(window, "start")
    until(window, f"{STATE} === 'Done.'")
    assert texts(window, "#stress-steps th[scope=row]") == ["20/s", "40/s"]
    assert texts(window, "#stress-findings li")[0].startswith("The knee was not reached: 40")
    assert "by the rate that came" in texts(window, ".plots figcaption")[3]
    until(window, "document.querySelector('#stress-runs li').innerText.includes('20 to 40/s')")
    window.evaluate("document.querySelectorAll('#stress-runs button')[1].click()")
    until(window, f"{STATE}.startsWith('Ended by hand')")
    assert texts(window, "#stress-name")[0].startswith("shades: 8 clients, then 50/s")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_and_operated_at_any_width(
    dark: bool, window: Chromium, running: Listening
) -> None:
    visit(window, running.url)
    if not running.wait(_count(running)):
        give(window, rate=20, clients=1, seconds=0.5)
        click(window, "start")
        until(window, f"{STATE} === 'Done.'")
    else:
        window.evaluate("document.querySelector('#stress-runs button').click()")
    until(window, "document.querySelectorAll('#stress-steps td').length > 0")
    for width in (360, 800, 1280):
        window.resize(width, 900, dark=dark)
        until(window, "(place => place.querySelector(':scope > svg').viewBox.baseVal.width"
              " <= place.clientWidth + 1)(document.getElementById('stress-latency'))")  # fmt: skip
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        assert window.evaluate(pages.FAINT) == []
    window.resize(1280, 900)
    window.command("Accessibility.enable")
    nodes = window.command("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes if not node.get("ignored") and "role" in node
    }  # fmt: skip
    operated = ("button", "radio", "spinbutton", "textbox", "image", "table")
    assert not [role for role, name in named if role in operated and not name]
    assert ("spinbutton", "Requests a second") in named
    assert any(role == "image" and "half were answered within" in name for role, name in named)


async def _count(running: Listening) -> int:
    assert running.service.stress is not None
    return len(running.service.stress.entries())


def test_another_test_is_shown_and_can_be_ended(window: Chromium, running: Listening) -> None:
    with httpx.Client(base_url=running.url) as own:
        visit(window, running.url)
        begun = own.post("/v1/stress", json={"model": "shades", "rate": 20, "seconds": 60}).json()
        click(window, "start")
        said = until(window, f"(t => t.startsWith('Another') && t)({STATE})")
        assert "one at a time" in said
        visit(window, running.url)
        until(window, f"{STATE}.startsWith('Running: 20/s')")
        click(window, "stop")
        until(window, f"{STATE}.startsWith('Ended by hand')")
        assert own.get(f"/v1/stress/{begun['id']}/record").json()["interrupted"]


def test_what_cannot_be_asked_is_told(window: Chromium, running: Listening, tmp_path: Path) -> None:
    visit(window, running.url)
    files = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    files[0].write_bytes(b"a text")
    files[1].write_bytes(shade(20))

    def refused() -> Any:
        click(window, "start")
        return until(window, f"document.querySelector('#stress-state.verdict.bad') && {STATE}")

    window.choose_files("#stress-pictures", files)
    assert refused() == (
        "2 pictures were chosen, and this service sends at most 1 in turn. Choose fewer."
    )
    window.choose_files("#stress-pictures", files[:1])
    until(window, "document.getElementById('stress-what').innerText.includes('1 picture of yours')")
    window.evaluate("void (document.getElementById('stress-state').innerText = '')")
    assert refused().startswith("Picture 1 is refused: ")
    window.choose_files("#stress-pictures", files[1:])
    give(window, seconds=200)
    window.evaluate("void (document.getElementById('stress-state').innerText = '')")
    assert "this service lets a stress test take 300" in refused()
    give(window, rate=20, seconds=0.5)
    click(window, "start")
    until(window, f"{STATE} === 'Done.'")


def test_who_may_not_is_asked_for_a_key(window: Chromium, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    who = {role: add_key(keys, role, role, None) for role in ("classify", "admin")}  # type: ignore[arg-type]
    with listening(write(tmp_path, artifact()), ui=True, workers=1, keys=str(keys)) as made:
        window.goto("about:blank")
        window.goto(f"{made.url}/#stress")
        for role in ("classify", "admin"):
            until(window, "!document.getElementById('stress-key-form').hidden")
            window.evaluate(f"void (document.getElementById('stress-key').value = '{who[role]}')")
            window.evaluate("document.querySelector('#stress-key-form button').click()")
            if role == "classify":
                until(window, f"{STATE}.includes('a key with the role admin')")
        until(window, "document.getElementById('stress-key-form').hidden")
        until(window, "document.querySelector('#models .choice') !== null")
        give(window, rate=20, clients=1, seconds=0.5)
        click(window, "start")
        until(window, f"{STATE} === 'Done.'")


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL], ids=lambda sig: sig.name)
def test_a_service_that_goes_is_told(sig: signal.Signals, window: Chromium, tmp_path: Path) -> None:
    path = write(tmp_path, artifact())
    with serving("--ui", path, "--runtime", "fake", "--drain-s", "0") as service:
        visit(window, service.url)
        give(window, rate=20, clients=0, seconds=60)
        click(window, "start")
        until(window, f"{STATE}.startsWith('Running: 20/s, ')")
        service.stop(sig)
    said = until(window, f"document.getElementById('stress-stop').hidden && {STATE}")
    if sig == signal.SIGTERM:
        assert said.startswith("The service was stopped, and has ended the test")
        assert texts(window, "#stress-steps th[scope=row]") == ["20/s"]
    else:
        assert said.startswith("The service cannot be reached any more")
    assert window.evaluate("document.querySelectorAll('#stress-latency circle').length") > 0
