"""What people do with pictures on the page, in a real Chromium: samples, turned photos, states."""

from __future__ import annotations

import base64
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from edgeclf.image import ImageSpec, load_image
from edgeclf.runtimes.fake import FakeRuntime
from support import pages, pictures
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
from support.services import Running, artifact, listening, serving, shade, write

SAMPLES_SHOWN = "document.querySelectorAll('.sample img').length === 2"
BESIDE = "document.querySelectorAll('.bars').length"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for name, level in (("dark & low.jpg", 20), ("bright.jpg", 240)):
        (folder / name).write_bytes(shade(level))
    return folder


@pytest.fixture(scope="module")
def running(gallery: Path, model_folder: Path) -> Iterator[Running]:
    words = ("--ui", model_folder / f"mugs.{REPLAYED[3]}", "--gallery", gallery)
    with serving(*words) as made:
        yield made


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with pages.opened("chromium", tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def chromium(window: Chromium, running: Running) -> Chromium:
    pages.visit(window, running, 1)
    window.console.clear()
    return window


@needs_chromium
def test_sample_pictures_are_shown_and_taken_one_or_all(chromium: Chromium) -> None:
    assert not chromium.evaluate("document.querySelectorAll('.sample').length")  # not fetched yet
    chromium.evaluate("document.querySelector('#gallery summary').click()")
    until(chromium, SAMPLES_SHOWN)
    names = ["bright.jpg", "dark & low.jpg"]
    assert texts(chromium, ".sample") == names
    chromium.evaluate("document.querySelectorAll('.sample')[1].click()")
    until(chromium, f"{BESIDE} === 1")
    chromium.evaluate("document.getElementById('gallery-all').click()")
    until(chromium, f"{BESIDE} === 3")
    assert sorted(texts(chromium, "#cards figcaption")) == sorted([*names, names[1]])
    for width in (360, 1280):
        chromium.resize(width, 900, dark=width == 360)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
        assert chromium.evaluate(pages.FAINT) == []


@needs_chromium
def test_a_panel_opened_before_the_list_arrives_is_filled_when_it_does(
    window: Chromium, running: Running
) -> None:
    open_it = "() => { document.getElementById('gallery').open = true; }"
    script = window.command(
        "Page.addScriptToEvaluateOnNewDocument",
        source=f"addEventListener('DOMContentLoaded', {open_it})",
    )
    try:
        pages.visit(window, running, 1)
        until(window, SAMPLES_SHOWN)
    finally:
        window.command("Page.removeScriptToEvaluateOnNewDocument", **script)


@needs_engines
@needs_chromium
def test_a_turned_photo_is_upright_in_the_preview_and_in_both_answers(
    chromium: Chromium, tmp_path: Path
) -> None:
    """A photo of 64 x 96, stored lying on its side in all eight ways, several dropped at once."""
    upright, files = scene(96, 64), {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"{orientation}.png"] = save(pictures.lay(upright, orientation), "PNG", exif=exif)
    drop = "".join(
        f"data.items.add(new File([bytes('{base64.b64encode(content).decode()}')], '{name}'));"
        for name, content in files.items()
    )
    where(chromium, "both")
    chromium.evaluate(f"""(() => {{
      const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      const data = new DataTransfer();
      {drop}
      document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer: data, bubbles: true }}));
    }})()""")
    until(chromium, "document.querySelectorAll('.verdict.good').length === 8")
    shapes = chromium.evaluate(
        "[...document.querySelectorAll('.card img')].map((i) => [i.naturalWidth, i.naturalHeight])"
    )
    assert shapes == [[64, 96]] * 8
    # One upright picture, so one tensor: the page names its SHA-256.
    said = set(texts(chromium, ".verdict.good"))
    assert len(said) == 1, said
    spec = ImageSpec(96, 96)
    expected = {load_image(content, spec).tobytes() for content in files.values()}
    assert len(expected) == 1


@needs_chromium
def test_a_file_that_cannot_be_read_any_more_is_told_and_is_not_the_services_fault(
    chromium: Chromium, tmp_path: Path
) -> None:
    path = tmp_path / "gone.jpg"
    path.write_bytes(shade(128))
    chromium.choose_files("#files", [path])
    until(chromium, f"{BESIDE} === 1")
    path.write_bytes(shade(20) * 2)  # another file by now
    where(chromium, "both")
    said = until(chromium, "document.querySelector('.side .verdict.bad')?.innerText")
    assert "moved or changed since it was chosen" in said
    assert chromium.evaluate("document.getElementById('server-state').innerText").endswith("ready")


@needs_chromium
def test_a_service_that_has_no_room_is_asked_once_more_and_then_told_to_be_busy(
    window: Chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    free.set()
    run = FakeRuntime.run
    monkeypatch.setattr(FakeRuntime, "run", lambda *words: (free.wait(WAIT_S), run(*words))[1])
    path = tmp_path / "photo.jpg"
    path.write_bytes(shade(128))
    config = {"ui": True, "workers": 1, "queue": 1, "max_pictures": 1}
    model = write(tmp_path, artifact(description=f"See https://example.org/{'a' * 90}"))
    with (
        listening(model, **config) as service,
        ThreadPoolExecutor(2) as others,
    ):
        pages.visit(window, service, 1)
        window.resize(360, 900)
        assert window.evaluate("document.documentElement.scrollWidth") <= 360  # whatever it says
        free.clear()
        try:
            others.map(send, [service.url] * 2)
            while service.service.pool.pending < 2:
                time.sleep(0.01)
            window.choose_files("#files", [path])
            said = until(window, "document.querySelector('.side')?.innerText")
            assert said.endswith("answers")  # beside the sign that it turns
            said = until(window, "document.querySelector('.side .verdict.bad')?.innerText")
            assert said.startswith("The service is busy; it was asked again after 1 s"), said
        finally:
            free.set()
        window.evaluate("document.querySelector('.side .verdict.bad button').click()")
        until(window, f"{BESIDE} === 1")


def send(url: str) -> None:
    request = urllib.request.Request(f"{url}/classify", shade(20), method="POST")
    with urllib.request.urlopen(request) as answer:
        answer.read()


@needs_chromium
def test_a_file_larger_than_the_service_takes_is_not_even_sent(
    chromium: Chromium, tmp_path: Path
) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(33 * 2**20)
    chromium.choose_files("#files", [path])
    said = until(chromium, "document.querySelector('.side .verdict.bad')?.innerText")
    assert "The file has 34.6 MB; the limit is 33.6 MB" in said
