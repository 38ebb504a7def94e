"""What the tests of the page share: its service, its browsers, and what is run within it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeclf.image import ImageSpec
from edgeclf.service.page_files import PageFiles
from support import browsers
from support.browser import CHROMIUM
from support.browsers import Chromium, Firefox
from support.services import Listening, Running

WAIT_S = 30
REPLAYED = (
    "fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite", "fp32.onnx", "int8.onnx",
)  # fmt: skip
needs_engines = pytest.mark.skipif(
    not PageFiles().engines, reason="needs the browser's engines: python tools/fetch_web.py"
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")

# The start of what is run in the page: its own modules.
IMPORTS = """(async () => {
const base = document.querySelector("script[type=module]").src.replace("page/app.js", "");
const [{ decode }, { fit }, { fromBase64, hexSha256 }, { Engine }, { Api }] = await Promise.all(
  ["core/decode.js", "core/resample.js", "core/hash.js", "page/engine.js", "page/api.js"]
    .map((name) => import(base + name)));
"""

# Texts with less contrast to what is behind them than WCAG 2.2 asks, 4.5 to 1.
FAINT = """(() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const color = rgba(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].map((node) => (node.nodeType === 3 ? node.data : ""));
    const text = own.join("").trim();
    if (!text || !element.getClientRects().length) continue;
    if (element.closest(".unseen, .skip, noscript")) continue;
    const color = rgba(getComputedStyle(element).color);
    const [a, b] = [light(color), light(ground(element))].sort((x, y) => x - y);
    if ((b + 0.05) / (a + 0.05) < 4.5) found.push(text.slice(0, 40));
  }
  return found;
})()"""


def opened(name: str, folder: Path) -> Any:
    """A browser at the page, or a reason to skip."""
    if name == "chromium" and CHROMIUM is None:
        pytest.skip("needs a Chromium")
    if name == "firefox" and browsers.FIREFOX is None:
        pytest.skip("needs a Firefox: apt install firefox-esr")
    return getattr(browsers, name)(folder)


def visit(browser: Chromium, running: Running | Listening, models: int = len(REPLAYED)) -> None:
    """Opens the page and waits until it lists the models."""
    browser.goto(f"{running.url}/")
    until(browser, f"document.querySelectorAll('#models .choice').length === {models}")


def until(browser: Chromium, condition: str, wait_s: float = WAIT_S) -> Any:
    """The value of a condition once it holds."""
    end = time.monotonic() + wait_s
    while not (found := browser.evaluate(condition)):
        if time.monotonic() > end:
            text = browser.evaluate("document.body.innerText")
            raise AssertionError(f"{condition} does not come true: {text}\n{browser.console}")
        time.sleep(0.05)
    return found


def where(browser: Chromium, side: str) -> None:
    """Chooses who answers: ``server``, ``browser`` or ``both``."""
    browser.evaluate(f"document.querySelector('input[value={side}]').click()")


def texts(browser: Chromium, selector: str) -> list[str]:
    """What the elements of a selector say."""
    return browser.evaluate(  # type: ignore[no-any-return]
        f"[...document.querySelectorAll('{selector}')].map((each) => each.innerText)"
    )


def tensors(
    page: Chromium | Firefox, files: Mapping[str, bytes], spec: ImageSpec
) -> dict[str, Any]:
    """What the page makes of pictures: bytes of the tensor, or the code of why there is none."""
    packed = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return page.evaluate(
        IMPORTS
        + f"""
      const [files, spec, made] = [{json.dumps(packed)}, {json.dumps(spec.to_dict())}, {{}}];
      for (const [name, text] of Object.entries(files)) {{
        try {{
          const {{ rgba, width, height }} = await decode(
            fromBase64(text), spec, {str(page.name == "chromium").lower()});
          made[name] = btoa(String.fromCharCode(...fit(rgba, width, height, spec)));
        }} catch (error) {{
          made[name] = {{ code: error.code ?? error.message }};
        }}
      }}
      return made;
    }})()"""
    )  # type: ignore[no-any-return]
