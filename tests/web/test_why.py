"""Why, in real browsers: maps and novelty held to Python's, and what the page makes of them."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeclf import Classifier, load_artifact, load_image
from edgeclf.artifact import save_artifact, seal_artifact
from edgeclf.explanation.cam import enlarged
from edgeclf.explanation.methods import explain_input
from support import REPOSITORY, page_references, pages
from support.browsers import Chromium, Firefox
from support.pages import REPLAYED, needs_chromium, needs_engines, until
from support.services import Running, serving

PHOTO = REPOSITORY / "examples" / "mugs" / "eval" / "blue" / "003.jpg"
HEADLESS, TRUSTED, CHANGED = "headless.tflite", "trusted.onnx", "changed.tflite"
OWN = (HEADLESS, TRUSTED, CHANGED)
# Of a map's value, 0..1. Where it was written, no class activation map was further off than 1e-6;
# on other processors LiteRT's own kernels may round int8 and dynamic otherwise.
TOLERANCE = 2e-3
pytestmark = [
    needs_engines,
    pytest.mark.skipif(not PHOTO.is_file(), reason="needs the photos of the checkout"),
]


@pytest.fixture(scope="module")
def folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All six kinds, and OWN: one that does not say where its features are, one that knows novelty
    by them, and one that names a tensor that is not in its graph."""
    made = tmp_path_factory.mktemp("explained")
    for name in REPLAYED:
        (made / name).symlink_to(model_folder / f"mugs.{name}")
    plain = load_artifact(made / "int8.tflite")
    save_artifact(
        seal_artifact(plain.content, dataclasses.replace(plain.metadata, features=None)),
        made / HEADLESS,
    )
    lost = {**(plain.metadata.features or {}), "tensor": "lost"}
    save_artifact(
        seal_artifact(plain.content, dataclasses.replace(plain.metadata, features=lost)),
        made / CHANGED,
    )
    plain = load_artifact(made / "int8.onnx")
    basis = np.random.default_rng(2).integers(-127, 128, (4, plain.features.shape[2]), np.int8)
    trust = page_references.trust_record(classes=len(plain.metadata.labels))
    trust["novelty"] = {
        "score": "scaled_residual", "threshold": 2.0, "length": 1.0,
        "basis": base64.b64encode(basis.tobytes()).decode(),
        "scale": base64.b64encode(np.full(4, 1e-4, "<f4").tobytes()).decode(),
    }  # fmt: skip
    save_artifact(
        seal_artifact(plain.content, dataclasses.replace(plain.metadata, trust=trust)),
        made / TRUSTED,
    )
    return made


@pytest.fixture(scope="module")
def explained(folder: Path) -> Iterator[Running]:
    names = (*REPLAYED, *OWN)
    with serving("--ui", *(f"{name}={folder / name}" for name in names)) as running:
        yield running


@pytest.fixture(scope="module")
def window(explained: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with pages.opened("chromium", tmp_path_factory.mktemp("chromium")) as browser:
        browser.goto(f"{explained.url}/")
        yield browser


@pytest.fixture
def page(window: Chromium, explained: Running) -> Chromium:
    """A Chromium that has just come to the page."""
    window.goto("about:blank")
    window.goto(f"{explained.url}/")
    window.resize(1280, 900)
    until(window, f"document.querySelectorAll('#models .choice').length === {len(REPLAYED + OWN)}")
    window.console.clear()
    return window


def in_browser(browser: Chromium | Firefox, name: str, target: int, passes: int) -> dict[str, Any]:
    """A map, an answer and the replay, by the page's own modules."""
    photo = base64.b64encode(PHOTO.read_bytes()).decode()
    found: dict[str, Any] = browser.evaluate(
        pages.IMPORTS
        + f"""
      const [api, engine] = [new Api(), new Engine()];
      const model = (await api.models()).find((each) => each.model === "{name}");
      const {{ replay, maps }} = await engine.load(await api.file(model), await api.engines());
      const bytes = () => fromBase64("{photo}").buffer;
      const {{ novelty, probabilities }} = await engine.classify(bytes());
      const {{ map, ...found }} = await engine.explain(
        bytes(), {target}, {passes}, new AbortController().signal, () => {{}});
      engine.end("engine_failed");
      return {{ ...found, replay, maps, novelty, probabilities: [...probabilities],
                rows: map.rows, columns: map.columns, values: [...map.values] }};
    }})()"""
    )
    return found


def check_map(browser: Chromium | Firefox, path: Path, target: int, passes: int = 64) -> None:
    with Classifier(path) as classifier:
        tensor = load_image(PHOTO, classifier.artifact.metadata.image)
        expected = explain_input(classifier, tensor, target, method=None, passes=passes, seed=0)
    found = in_browser(browser, path.name, target, passes)
    assert (found["method"], found["passes"]) == (expected.method, expected.passes)
    assert found["maps"] == {"method": expected.method, "problem": ""}
    assert found["replay"]["verdict"] == "identical"
    assert found["probability"] == pytest.approx(expected.probability, abs=0.001)
    values = np.reshape(found["values"], (found["rows"], found["columns"]))
    drawn = enlarged(expected.grid, (found["columns"], found["rows"]))
    assert drawn.max() > 0.5
    assert np.abs(values - drawn).max() <= TOLERANCE


@needs_chromium
@pytest.mark.parametrize("name", [*REPLAYED, HEADLESS])
def test_maps_are_those_of_python(name: str, window: Chromium, folder: Path) -> None:
    check_map(window, folder / name, 2)


def test_in_firefox_too(explained: Running, folder: Path, tmp_path: Path) -> None:
    with pages.opened("firefox", tmp_path) as browser:
        browser.goto(f"{explained.url}/")
        for name in ("int8.tflite", "fp32.onnx"):
            check_map(browser, folder / name, 2)


@needs_chromium
def test_novelty_is_judged_by_features_as_in_python(window: Chromium, folder: Path) -> None:
    with Classifier(folder / TRUSTED) as classifier:
        expected = classifier.classify(PHOTO).novelty
    assert expected is not None and expected > 0.1
    found = in_browser(window, TRUSTED, 0, 16)
    assert found["novelty"] == pytest.approx(expected, rel=1e-3)


@needs_chromium
def test_a_file_whose_features_are_lost_says_so_and_answers(window: Chromium) -> None:
    found = in_browser(window, CHANGED, 2, 16)
    assert found["maps"] == {"method": "rise", "problem": "its graph has no tensor lost"}
    assert found["method"] == "rise" and found["replay"]["verdict"] == "identical"


def choose(page: Chromium, name: str, side: str) -> None:
    page.evaluate(f"document.querySelector('input[value=\"{name}\"]').click()")
    page.evaluate(f"document.querySelector('input[value={side}]').click()")
    page.choose_files("#files", [PHOTO])
    until(page, f"document.querySelectorAll('.bars').length === {2 if side == 'both' else 1}")


def select(page: Chromium, number: int, value: str) -> None:
    page.evaluate(f"""(() => {{
      const found = document.querySelectorAll(".why select")[{number}];
      found.value = {json.dumps(value)};
      found.dispatchEvent(new Event("change"));
    }})()""")


SAID = "document.querySelector('.why p').innerText"


@needs_chromium
def test_a_card_shows_why_by_keyboard_for_class_and_side(page: Chromium) -> None:
    choose(page, "int8.tflite", "both")
    page.evaluate("document.querySelector('.words > .button').focus()")
    page.press("Enter", 13, "\r")
    words = until(page, f"{SAID}.includes('one pass') && {SAID}")
    assert "class activation map" in words and words.endswith("server.")
    label = page.evaluate("document.querySelector('.stack canvas').getAttribute('aria-label')")
    assert label.startswith("Map over 003.jpg. ") and "most telling place" in label
    pixels = "document.querySelector('.stack canvas').toDataURL().length"
    first = page.evaluate(pixels)
    other = page.evaluate("document.querySelectorAll('.why select')[0].options[3].value")
    select(page, 0, other)
    until(page, f"{SAID}.startsWith('{other}: ')")
    assert page.evaluate(pixels) != first
    select(page, 1, "browser")
    until(page, f"{SAID}.endsWith('this browser.')")
    page.evaluate("document.querySelector('.why input[type=range]').focus()")
    page.press("End", 35)
    assert page.evaluate("document.querySelector('.stack canvas').style.opacity") == "1"
    for width in (360, 1280):
        page.resize(width, 900, dark=width == 360)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(pages.FAINT) == []
    # Another model: another answer, which nobody has asked about yet.
    page.evaluate("document.querySelector('input[value=\"fp32.onnx\"]').click()")
    until(
        page,
        "document.querySelector('.why').hidden && document.querySelectorAll('.bars').length === 2",
    )
    assert page.evaluate("document.querySelector('.stack canvas').hidden")
    assert not [line for line in page.console if "exception" in line]


@needs_chromium
@pytest.mark.parametrize("side", ["server", "browser"])
def test_many_passes_are_announced_and_can_be_cancelled(side: str, page: Chromium) -> None:
    choose(page, HEADLESS, side)
    page.evaluate("document.querySelector('.words > .button').click()")
    said = until(page, f"{SAID}.includes('256 passes of') && {SAID}")
    assert ("the pictures of others go first" in said) == (side == "server")
    press = "document.querySelector('.why .line .button').click()"
    page.evaluate(press)
    page.evaluate(press)  # it says "Cancel" by now
    until(page, f"{SAID} === 'It was cancelled.'")
    # The service may still be at the last piece of the one before.
    until(page, f"(() => {{ if (document.querySelector('.why .line .button')?.innerText === "
                f"'Try again') {press}; return {SAID}.includes('256 passes, '); }})()")  # fmt: skip


@needs_chromium
def test_precisions_are_compared_on_one_photo(page: Chromium) -> None:
    choose(page, "int8.onnx", "server")
    page.evaluate("document.querySelector('#views a[href=\"#precisions\"]').click()")
    until(page, f"document.querySelectorAll('.tick').length === {len(REPLAYED + OWN)}")
    page.evaluate("document.getElementById('precisions-go').click()")
    state = "document.getElementById('precisions-state').innerText"
    assert until(page, f"{state}.startsWith('Compared with') && {state}").startswith(
        "Compared with fp32 tflite; the maps are of "
    )
    rows = "[...document.querySelectorAll('.files tbody tr')].map((row) => row.innerText)"
    found = page.evaluate(rows)
    assert [row.split("\t")[0] for row in found] == [
        "fp32 tflite", "fp32 onnx", "fp16 tflite", "dynamic tflite", "int8 tflite", "int8 tflite",
        "int8 tflite", "int8 onnx", "int8 onnx",
    ]  # fmt: skip
    assert page.evaluate("document.querySelectorAll('.files canvas').length") == len(REPLAYED) + 1
    assert "takes many passes" in "".join(found)
    assert "no such tensor in its graph" in "".join(found)  # its own row, and the others go on
    correlations = page.evaluate("[...document.querySelectorAll('[data-label=Correlation]')]"
                                 ".map((cell) => parseFloat(cell.innerText))")  # fmt: skip
    assert min(value for value in correlations if value is not None) > 0.9
    # Two of them in this browser, and what is said where nothing is ticked.
    page.evaluate("document.querySelector('input[value=browser]').click()")
    page.evaluate("document.querySelectorAll('.tick input').forEach((box) => box.click())")
    page.evaluate("document.getElementById('precisions-go').click()")
    assert until(page, state) == "No file is ticked. Tick those that are to be compared."
    for name in ("fp32 tflite", "int8 onnx"):
        page.evaluate(f"[...document.querySelectorAll('.tick')].find((each) => "
                      f"each.innerText.startsWith('{name}')).click()")  # fmt: skip
    page.evaluate("document.getElementById('precisions-go').click()")
    until(page, f"{state}.startsWith('Compared with')")
    assert len(page.evaluate(rows)) == 2
    page.resize(360, 900)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(pages.FAINT) == []
    assert not [line for line in page.console if "exception" in line]
