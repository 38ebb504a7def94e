"""The pictures of the page that its documentation shows.

python tools/page_picture.py FILE... docs/images/page.png
python tools/page_picture.py --view why FILE... docs/images/why.png
python tools/page_picture.py --view precisions FILE... docs/images/precisions.png

Serves the files, opens the page in a Chromium, and lets server and browser answer two photos; asks
why one of them is what it is; or compares all of the files on it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import browsers  # noqa: E402
from support.services import serving  # noqa: E402

PHOTOS = [ROOT / "examples" / "mugs" / "eval" / name for name in ("blue/003.jpg", "black/002.jpg")]
WIDTH, HEIGHT, COLORS, WAIT_S = 1180, 900, 220, 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--view", choices=("answers", "why", "precisions"), default="answers")
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    names = [path.name.replace(".", "-") for path in args.artifacts]
    files = [f"{name}={path}" for name, path in zip(names, args.artifacts, strict=True)]
    with (
        serving("--ui", *files) as service,
        tempfile.TemporaryDirectory() as folder,
        browsers.chromium(Path(folder)) as browser,
    ):
        browser.resize(WIDTH, HEIGHT)
        browser.goto(service.url)
        wait(browser, "document.querySelector('.choice')")
        VIEWS[args.view](browser)
        shot = Image.open(io.BytesIO(browser.picture())).convert("RGB")
    shot.quantize(COLORS).save(args.picture, optimize=True)
    print(f"{args.picture}: {shot.width} x {shot.height}")
    return 0


def show_answers(browser: browsers.Chromium) -> None:
    browser.evaluate("document.querySelector('input[value=both]').click()")
    browser.choose_files("#files", PHOTOS)
    wait(browser, "document.querySelectorAll('.verdict.good').length === 2")


def show_why(browser: browsers.Chromium) -> None:
    browser.choose_files("#files", PHOTOS[:1])
    wait(browser, "document.querySelector('.bars')")
    browser.evaluate("document.querySelector('.words > .button').click()")
    wait(browser, "document.querySelector('.stack canvas:not([hidden])')")


def show_precisions(browser: browsers.Chromium) -> None:
    browser.choose_files("#files", PHOTOS[:1])
    wait(browser, "document.querySelector('.bars')")
    browser.evaluate("location.hash = '#precisions'")
    wait(browser, "document.querySelector('.tick')")
    browser.evaluate("document.getElementById('precisions-go').click()")
    wait(browser, "document.getElementById('precisions-state').innerText.startsWith('Compared')")


VIEWS = {"answers": show_answers, "why": show_why, "precisions": show_precisions}


def wait(browser: browsers.Chromium, condition: str) -> None:
    end = time.monotonic() + WAIT_S
    while not browser.evaluate(f"Boolean({condition})"):
        if time.monotonic() > end:
            raise SystemExit(f"{condition} does not come true: {browser.console}")
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
