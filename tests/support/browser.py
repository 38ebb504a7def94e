"""What a page looks like in a real browser, asked of a Chromium that is installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
))), None)  # fmt: skip
TIME_LIMIT_S = 120
WIDTHS = (390, 800, 1280)  # of a telephone, a tablet and a screen, in CSS pixels

# Runs in a page that holds the report in a frame, as a headless window is never below 500 px wide.
_LOOK = """
const channel = (value) =>
  (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const contrast = (a, b) => {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
};
const ground = (element, view) => {
  for (; element; element = element.parentElement) {
    const color = rgba(view.getComputedStyle(element).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return null;
};
const ownText = (element) =>
  [...element.childNodes].map((n) => (n.nodeType === 3 ? n.data : "")).join(" ").trim();

addEventListener("load", () => {
  const frame = document.querySelector("iframe"), view = frame.contentWindow, page = view.document;
  const found = { faint: [], cut: [], empty: [], wide: {}, ground: ground(page.body, view) };
  for (const element of page.querySelectorAll("body *:not(svg *):not(script):not(style)")) {
    const text = ownText(element);
    if (!text || !element.getClientRects().length) continue;
    const ratio = contrast(rgba(view.getComputedStyle(element).color), ground(element, view));
    if (ratio < 4.5) found.faint.push(`${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  for (const width of WIDTHS) {
    frame.style.width = width + "px";
    found.wide[width] = page.documentElement.scrollWidth - page.documentElement.clientWidth;
    for (const picture of page.querySelectorAll("svg, img")) {
      const box = picture.getBoundingClientRect();
      if (box.width < 50 || box.height < 20)
        found.empty.push([width, picture.outerHTML.slice(0, 80)]);
      for (const text of picture.querySelectorAll("text")) {
        const own = text.getBoundingClientRect();
        if (own.left < box.left - 1 || own.right > box.right + 1 || own.top < box.top - 1
            || own.bottom > box.bottom + 1) found.cut.push([width, text.textContent]);
      }
    }
  }
  found.pictures = page.querySelectorAll("svg, img").length;
  found.tables = page.querySelectorAll("table").length;
  document.title = JSON.stringify(found);
});
"""


@dataclass(frozen=True)
class Look:
    """How a page was laid out.

    Attributes:
        ground: Red, green and blue, 0..255, of the page itself.
        faint: Texts with less contrast to what is behind them than WCAG 2.2 asks, 4.5 to 1.
        cut: Width of the window and text, for those that lie partly outside of their plot.
        empty: Width of the window and source of pictures that have no area to speak of.
        wide: By the window's width, how many pixels one has to scroll sideways.
        pictures: How many plots and pictures there are.
        tables: How many tables there are.
    """

    ground: tuple[int, ...]
    faint: list[str]
    cut: list[Any]
    empty: list[Any]
    wide: dict[int, int]
    pictures: int
    tables: int


def look_at(page: str, folder: Path, *, dark: bool) -> Look:
    """Lays a page out in windows of all `WIDTHS`.

    Args:
        page: The HTML.
        folder: For the browser's own files.
        dark: Whether the reader prefers dark pages.
    """
    outer = folder / "outer.html"
    script = _LOOK.replace("WIDTHS", json.dumps(WIDTHS))
    outer.write_text(
        f'<!doctype html><meta charset="utf-8"><iframe srcdoc="{html.escape(page)}"'
        f' height="900"></iframe><script>{script}</script>',
        encoding="utf-8",
    )
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    dom = run(folder, scheme, "--dump-dom", outer.as_uri())
    title = re.search("<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None, dom[:500]
    found = json.loads(html.unescape(title[1]))
    found["wide"] = {int(width): pixels for width, pixels in found["wide"].items()}
    return Look(**{**found, "ground": tuple(found["ground"][:3])})


def check(page: str, folder: Path) -> Look:
    """Fails where a reader of a light or a dark page could not read it; returns the light one."""
    light, dark = (look_at(page, folder, dark=dark) for dark in (False, True))
    for look in (light, dark):
        assert look.wide == dict.fromkeys(WIDTHS, 0), "one has to scroll sideways"
        assert look.faint == [] and look.cut == [] and look.empty == []
    assert sum(light.ground) > 700 and sum(dark.ground) < 150
    return light


def print_pages(page: Path, folder: Path) -> int:
    """How many sheets of paper a page takes."""
    target = folder / "page.pdf"
    run(folder, f"--print-to-pdf={target}", page.as_uri())
    return len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))


def run(folder: Path, *options: str) -> str:
    """Runs the browser without a window, in a profile of its own; returns what it writes."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         f"--user-data-dir={folder / 'profile'}", *options],
        capture_output=True, text=True, timeout=TIME_LIMIT_S, check=True,
    )  # fmt: skip
    return done.stdout
