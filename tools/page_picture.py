"""The pictures of the page that its documentation shows.

python tools/page_picture.py FILE... [--networks FILE...]
python tools/page_picture.py --view why|precisions|stress FILE...

Serves the files, opens the page in a Chromium, and lets server and browser answer two photos: in
docs/images `page.png`, and `page-phone.png` as a phone shows it in the dark. With networks of
ImageNet's classes `page-samples.png` as well: sample pictures, in the dark. With a view its picture
alone: why one photo is what it is, all of the files on it, or twice the load that can be answered.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples" / "web_app")]

from web_app import collect  # noqa: E402

from support import browsers, pages  # noqa: E402
from support.services import serving  # noqa: E402

PHOTOS = [ROOT / "examples" / "mugs" / "eval" / name for name in ("blue/003.jpg", "black/002.jpg")]
SAMPLES = ("coffee.png", "chelsea.png")
IMAGES = ROOT / "docs" / "images"
WIDE, PHONE = (1180, 900), (360, 780)
COLORS = 128


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--networks", nargs="+", type=Path, default=[])
    parser.add_argument("--view", choices=VIEWS)
    args = parser.parse_args()
    if args.view:
        with opened(args.artifacts) as browser:
            browser.resize(*WIDE)
            VIEWS[args.view](browser)
            keep(browser, IMAGES / f"{args.view}.png")
        return 0
    with opened(args.artifacts) as browser:
        browser.resize(*WIDE)
        browser.choose_files("#files", PHOTOS)
        pages.until(browser, "document.querySelectorAll('.verdict.good').length === 2")
        keep(browser, IMAGES / "page.png")
        browser.resize(*PHONE, dark=True)
        browser.evaluate("document.querySelector('.card').scrollIntoView()")
        keep(browser, IMAGES / "page-phone.png", whole=False)
    if args.networks:
        with tempfile.TemporaryDirectory() as gallery:
            collect(Path(gallery))
            with opened(args.networks, "--gallery", gallery) as browser:
                browser.resize(*WIDE, dark=True)
                take_samples(browser)
                keep(browser, IMAGES / "page-samples.png")
    return 0


@contextmanager
def opened(artifacts: Sequence[Path], *words: str) -> Iterator[browsers.Chromium]:
    """The page, set to ask both sides."""
    named = [f"{path.name.replace('.', '-')}={path}" for path in artifacts]
    with (
        serving("--ui", *named, *words) as service,
        tempfile.TemporaryDirectory() as folder,
        browsers.chromium(Path(folder)) as browser,
    ):
        pages.visit(browser, service, len(artifacts))
        pages.where(browser, "both")
        yield browser


def take_samples(browser: browsers.Chromium) -> None:
    """Opens the sample pictures, and takes some."""
    browser.evaluate("document.querySelector('#gallery summary').click()")
    pages.until(
        browser,
        "(all => all.length > 0 && all.every((each) => each.querySelector('img')?.complete))"
        "([...document.querySelectorAll('.sample')])",
    )
    for name in reversed(SAMPLES):
        browser.evaluate(
            "[...document.querySelectorAll('.sample')]"
            f".find((each) => each.innerText === '{name}').click()"
        )
        pages.until(browser, f"document.querySelector('#cards figcaption')?.innerText === '{name}'")
    pages.until(browser, f"document.querySelectorAll('.verdict.good').length === {len(SAMPLES)}")


def show_why(browser: browsers.Chromium) -> None:
    pages.where(browser, "server")
    browser.choose_files("#files", PHOTOS[:1])
    pages.until(browser, "document.querySelector('.bars') !== null")
    browser.evaluate("document.querySelector('.words > .button').click()")
    pages.until(browser, "document.querySelector('.stack canvas:not([hidden])') !== null")


def show_precisions(browser: browsers.Chromium) -> None:
    pages.where(browser, "server")
    browser.choose_files("#files", PHOTOS[:1])
    pages.until(browser, "document.querySelector('.bars') !== null")
    browser.evaluate("location.hash = '#precisions'")
    pages.until(browser, "document.querySelector('.tick') !== null")
    browser.evaluate("document.getElementById('precisions-go').click()")
    pages.until(
        browser, "document.getElementById('precisions-state').innerText.startsWith('Compared')"
    )


def show_stress(browser: browsers.Chromium) -> None:
    state = "document.getElementById('stress-state').innerText"
    browser.evaluate("location.hash = '#stress'")
    for seconds in (3, 8):
        browser.evaluate(f"void (document.getElementById('stress-seconds').value = '{seconds}')")
        browser.evaluate("document.getElementById('stress-start').click()")
        pages.until(browser, f"{state}.startsWith('Running')")
        pages.until(browser, f"{state} === 'Done.'")
        browser.evaluate("document.getElementById('stress-twice').click()")


VIEWS = {"why": show_why, "precisions": show_precisions, "stress": show_stress}


def keep(browser: browsers.Chromium, path: Path, *, whole: bool = True) -> None:
    """Stores what the browser shows, in few colours."""
    pages.until(browser, "document.getAnimations().every((each) => each.playState !== 'running')")
    shot = Image.open(io.BytesIO(browser.picture(whole=whole))).convert("RGB")
    shot.quantize(COLORS).save(path, optimize=True)
    print(f"{path}: {shot.width} x {shot.height}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    raise SystemExit(main())
