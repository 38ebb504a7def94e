"""The page in a real Chromium: what it shows in each state, by mouse, keyboard and on paper."""

from __future__ import annotations

import base64
import re
import struct
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeclf.service.page_files import PageFiles
from support import pages, pictures
from support.browsers import Chromium
from support.pages import (
    REPLAYED,
    needs_chromium,
    needs_engines,
    texts,
    until,
    visit,
    where,
)
from support.pictures import save, scene
from support.services import Running, serving

# A PNG of 400 megapixels, as far as its head says.
HUGE = (
    b"\x89PNG\r\n\x1a\n"
    + pictures.png_chunk(b"IHDR", struct.pack(">2I5B", 20_000, 20_000, 8, 2, 0, 0, 0))
    + pictures.png_chunk(b"IDAT", zlib.compress(b""))
    + pictures.png_chunk(b"IEND", b"")
)


@pytest.fixture(scope="module")
def window(service: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with pages.opened("chromium", tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def chromium(window: Chromium, service: Running) -> Chromium:
    """A Chromium that has just come to the page, and has kept no model."""
    visit(window, service)
    window.evaluate("caches.delete('edgeclf-models')")
    window.resize(1280, 900)
    window.console.clear()
    return window


def photo(folder: Path, name: str = "photo.jpg", content: bytes | None = None) -> Path:
    path = folder / name
    path.write_bytes(save(scene(), "JPEG") if content is None else content)
    return path


@needs_engines
@needs_chromium
def test_server_and_browser_are_proven_the_same_on_the_page(
    chromium: Chromium, tmp_path: Path
) -> None:
    chromium.choose_files("#files", [photo(tmp_path), photo(tmp_path, "second.jpg")])
    until(chromium, "document.querySelectorAll('.bars').length === 2")
    assert texts(chromium, ".side h4") == ["Server"] * 2
    where(chromium, "browser")
    until(chromium, "document.querySelectorAll('.verdict.good').length === 2")
    first = texts(chromium, ".verdict.good")[0]
    assert first.startswith("Proven the same: one file, one tensor to the bit")
    assert "certificate identical" in chromium.evaluate(
        "document.getElementById('engine-state').innerText"
    )
    proof = chromium.evaluate("document.getElementById('proof').innerText")
    assert "LiteRT.js 2.5.3" in proof and "identical" in proof
    # Choosing a model of the other engine asks both sides anew, and frees the first.
    chromium.evaluate("document.querySelector('input[value=\"int8.onnx\"]').click()")
    until(chromium, "document.getElementById('proof').innerText.includes('ONNX Runtime Web')")
    assert not [line for line in chromium.console if not line.startswith("log: Failed")]


@needs_engines
@needs_chromium
def test_without_the_service_the_browser_goes_on(
    window: Chromium, model_folder: Path, tmp_path: Path
) -> None:
    with serving("--ui", model_folder / "mugs.int8.tflite") as running:
        visit(window, running, 1)
        where(window, "browser")
        until(window, "document.getElementById('engine-state').innerText.startsWith('ready')")
        running.stop()
    window.choose_files("#files", [photo(tmp_path)])
    until(window, "document.querySelectorAll('.bars').length === 1")
    where(window, "server")
    problem = until(window, "document.querySelector('.side .verdict.bad')?.innerText")
    assert problem.startswith("The service cannot be reached")
    assert window.evaluate("document.getElementById('server-state').innerText").endswith("offline")
    assert len(texts(window, ".bars")) == 1  # what the browser answered stays


@needs_chromium
def test_a_model_that_is_taken_away_is_told_and_the_list_read_again(
    window: Chromium, model_folder: Path, tmp_path: Path
) -> None:
    files = [f"{name}={model_folder / f'mugs.{name}'}" for name in REPLAYED[:2]]
    with serving("--ui", *files) as running:
        visit(window, running, 2)
        gone = f"{running.url}/v2/repository/models/{REPLAYED[0]}/unload"
        window.evaluate(f"fetch('{gone}', {{ method: 'POST' }})")
        window.choose_files("#files", [photo(tmp_path)])
        problem = until(window, "document.querySelector('.side .verdict.bad')?.innerText")
        assert "does not answer" in problem or "not served any more" in problem
        window.evaluate(f"document.querySelector('input[value=\"{REPLAYED[1]}\"]').click()")
        until(window, "document.querySelectorAll('.bars').length === 1")


@needs_engines
@needs_chromium
def test_a_model_is_fetched_once_and_kept_under_its_hash(
    chromium: Chromium, service: Running
) -> None:
    where(chromium, "browser")
    until(chromium, "document.getElementById('engine-state').innerText.startsWith('ready')")
    visit(chromium, service)
    where(chromium, "browser")
    said = until(chromium, "(t => t.startsWith('ready') && t)"
                 "(document.getElementById('engine-state').innerText)")  # fmt: skip
    assert "from this browser's cache" in said
    # What a disk damages is noticed, and fetched again.
    chromium.evaluate("""(async () => {
      const cache = await caches.open("edgeclf-models");
      for (const key of await cache.keys()) await cache.put(key, new Response("damaged"));
    })()""")
    visit(chromium, service)
    where(chromium, "browser")
    said = until(chromium, "(t => t.startsWith('ready') && t)"
                 "(document.getElementById('engine-state').innerText)")  # fmt: skip
    assert "cache" not in said


@needs_engines
@needs_chromium
@pytest.mark.parametrize(
    ("name", "content", "server", "browser"),
    [
        (
            "a.txt",
            b"a text",
            "Cannot read|not a picture|no picture|Expected",
            "This is not a picture",
        ),
        ("empty.jpg", b"", "The file is empty", "The file is empty"),
        ("cut.jpg", save(scene(), "JPEG")[:3000], "truncated|damaged|cut", "damaged or cut short"),
        ("a.tiff", save(scene(), "TIFF"), "", "cannot decode TIFF"),
        ("a.ico", save(scene(64, 64), "ICO"), "ICO", "type ICO"),
        ("huge.png", HUGE, "400000000 pixels", "20000 × 20000 pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:9] else "",
)
def test_a_bad_picture_is_told_and_the_page_goes_on(
    name: str, content: bytes, server: str, browser: str, chromium: Chromium, tmp_path: Path
) -> None:
    where(chromium, "browser")
    chromium.choose_files("#files", [photo(tmp_path, name, content)])
    said = until(chromium, "document.querySelector('.side .verdict.bad')?.innerText")
    assert browser in said and "Send it to the server" in said
    chromium.evaluate("document.querySelector('.side .verdict.bad button').click()")
    until(
        chromium,
        "document.querySelectorAll('.side').length === 2 && !document.querySelector('.waiting')",
    )
    told = texts(chromium, ".side")[0]
    assert re.search(server, told), told
    chromium.choose_files("#files", [photo(tmp_path, "good.jpg")])
    until(chromium, "document.querySelectorAll('.bars').length >= 1")


@needs_engines
@needs_chromium
def test_a_worker_that_is_ended_and_a_damaged_file_are_told(
    chromium: Chromium, service: Running, tmp_path: Path
) -> None:
    found = chromium.evaluate(
        pages.IMPORTS
        + """
      const [api, said] = [new Api(), {}];
      const [model] = await api.models();
      const homes = await api.engines();
      const code = (promise) => promise.then(() => "none", (error) => error.code);
      const bytes = await api.file(model);
      for (const place of [40, bytes.byteLength >> 1]) {
        const damaged = bytes.slice(0);
        new Uint8Array(damaged)[place] ^= 1;
        said[place < 50 ? "front" : "middle"] = await code(new Engine().load(damaged, homes));
      }
      said.stranger = await code(new Engine().load(new ArrayBuffer(100), homes));
      said.without = await code(new Engine().load(bytes, {}));
      const engine = new Engine();
      await engine.load(bytes, homes);
      const pending = code(engine.classify(new ArrayBuffer(8)));
      engine.end("worker_ended");
      said.ended = await pending;
      said.after = await code(engine.classify(new ArrayBuffer(8)));
      return said;
    })()"""
    )
    assert found == {
        "front": "damaged_artifact", "middle": "damaged_artifact", "stranger": "no_artifact",
        "without": "no_engines", "ended": "worker_ended", "after": "worker_ended",
    }  # fmt: skip


@needs_chromium
def test_pictures_are_dropped_pasted_and_removed_by_keyboard(chromium: Chromium) -> None:
    encoded = base64.b64encode(save(scene(), "PNG")).decode()
    for kind, event in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        chromium.evaluate(f"""(() => {{
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob("{encoded}"), (letter) => letter.charCodeAt(0));
          data.items.add(new File([bytes], "{kind}.png", {{ type: "image/png" }}));
          const options = {{ {event}: data, bubbles: true }};
          const made = "{kind}" === "drop"
            ? new DragEvent("drop", options) : new ClipboardEvent("paste", options);
          document.body.dispatchEvent(made);
        }})()""")
    until(chromium, "document.querySelectorAll('.bars').length === 2")
    assert texts(chromium, ".card figcaption") == ["paste.png", "drop.png"]
    assert ".png: " in chromium.evaluate("document.getElementById('live').innerText")
    chromium.evaluate("document.querySelector('.card button').focus()")
    chromium.press("Enter", 13, "\r")
    until(chromium, "document.querySelectorAll('.card').length === 1")
    # The next picture's button has the focus now; from the top, Tab leads to the skip link first.
    assert (
        chromium.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove drop.png"
    )
    chromium.press("Enter", 13, "\r")
    until(chromium, "document.querySelectorAll('.card').length === 0")
    assert chromium.evaluate("document.activeElement.id") == "files"


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_at_any_width_and_on_paper(
    dark: bool, chromium: Chromium, tmp_path: Path
) -> None:
    chromium.choose_files(
        "#files", [photo(tmp_path, "a picture with a rather long name, " * 4 + ".jpg")]
    )
    until(chromium, "document.querySelectorAll('.bars').length === 1")
    for width in (360, 800, 1280):
        chromium.resize(width, 900, dark=dark)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
        assert chromium.evaluate(pages.FAINT) == []
    chromium.resize(800, 900, media="print")
    assert not chromium.evaluate("document.getElementById('drop').getClientRects().length")
    assert chromium.evaluate("document.querySelector('.bars').getClientRects().length")


@needs_chromium
def test_everything_that_is_operated_has_a_name(chromium: Chromium, tmp_path: Path) -> None:
    chromium.choose_files("#files", [photo(tmp_path)])
    until(chromium, "document.querySelectorAll('.bars').length === 1")
    chromium.command("Accessibility.enable")
    operated = ("button", "radio", "link", "combobox", "textbox", "image")
    nameless = [
        node["role"]["value"]
        for node in chromium.command("Accessibility.getFullAXTree")["nodes"]
        if node.get("role", {}).get("value") in operated
        and not node.get("ignored") and not node.get("name", {}).get("value")
    ]  # fmt: skip
    # The logo and the drawing are ornaments.
    assert nameless == []
    assert chromium.evaluate("document.documentElement.lang") == "en"


@needs_chromium
def test_the_page_without_engines_is_small_over_the_wire(service: Running) -> None:
    files = PageFiles()
    paths = ["/", *(path for path in files._files if "/engines/" not in path)]
    size = 0
    for path in paths:
        headers = {"Accept": "text/html", "Accept-Encoding": "gzip"}
        with urllib.request.urlopen(
            urllib.request.Request(service.url + path, headers=headers)
        ) as r:
            assert r.headers["content-encoding"] == "gzip"
            size += len(r.read())
    assert 10_000 < size < 100_000


@needs_engines
@needs_chromium
def test_what_a_browser_forbids_is_told(chromium: Chromium) -> None:
    chromium.evaluate("void Object.defineProperty(window, 'isSecureContext', { value: false })")
    where(chromium, "browser")
    said = until(chromium, "document.getElementById('engine-state').innerText")
    assert said.startswith("This page came over plain HTTP from another machine")
    where(chromium, "server")
    chromium.evaluate("document.getElementById('sample').click()")
    until(chromium, "document.querySelectorAll('.bars').length === 1")  # the server still answers


@needs_engines
@needs_chromium
def test_without_room_to_keep_the_model_it_answers_all_the_same(chromium: Chromium) -> None:
    full = "new DOMException('', 'QuotaExceededError')"
    chromium.evaluate(f"void (Cache.prototype.put = () => Promise.reject({full}))")
    where(chromium, "browser")
    chromium.evaluate("document.getElementById('sample').click()")
    until(chromium, "document.querySelectorAll('.bars').length === 1")
    assert "could not keep it" in chromium.evaluate(
        "document.getElementById('engine-state').innerText"
    )


@needs_engines
@needs_chromium
def test_a_model_that_is_chosen_while_another_loads_is_the_one_that_answers(
    chromium: Chromium,
) -> None:
    where(chromium, "both")
    chromium.evaluate("document.getElementById('sample').click()")
    for name in (*REPLAYED[1:], REPLAYED[0], REPLAYED[3]):
        chromium.evaluate(f"document.querySelector('input[value=\"{name}\"]').click()")
    until(chromium, "document.querySelectorAll('.verdict.good').length === 1")
    chosen = chromium.evaluate("document.querySelector('input[name=model]:checked').value")
    assert chosen == REPLAYED[3]
    state = chromium.evaluate("document.getElementById('engine-state').innerText")
    assert state.startswith("ready") and not [
        line for line in chromium.console if "exception" in line
    ]
