"""The pictures of the page that its documentation shows.

python tools/page_picture.py FILE... docs/images/page.png
python tools/page_picture.py --view stress FILE docs/images/stress.png

Serves the files, opens the page in a Chromium, and lets server and browser answer two photos; or
puts the service under twice the load that it can answer.
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
    parser.add_argument("--view", choices=("answers", "stress"), default="answers")
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    files = [
        f"{path.name.replace('.', '-', 1).rpartition('.')[0]}={path}" for path in args.artifacts
    ]
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


def show_stress(browser: browsers.Chromium) -> None:
    browser.evaluate("location.hash = '#stress'")
    for seconds in (3, 8):
        browser.evaluate(f"void (document.getElementById('stress-seconds').value = '{seconds}')")
        browser.evaluate("document.getElementById('stress-start').click()")
        wait(browser, "document.getElementById('stress-state').innerText.startsWith('Running')")
        wait(browser, "document.getElementById('stress-state').innerText === 'Done.'")
        browser.evaluate("document.getElementById('stress-twice').click()")


VIEWS = {"answers": show_answers, "stress": show_stress}


def wait(browser: browsers.Chromium, condition: str) -> None:
    end = time.monotonic() + WAIT_S
    while not browser.evaluate(f"Boolean({condition})"):
        if time.monotonic() > end:
            raise SystemExit(f"{condition} does not come true: {browser.console}")
        time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
