"""The picture of the camera's view that the page's documentation shows.

python tools/camera_picture.py FILE docs/images/camera.png

A Chromium's camera plays a film of mugs, a service answers it, and for a while the link is cut and
the browser answers.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from page_picture import COLORS, ROOT, WIDTH, wait
from PIL import Image, ImageOps

sys.path.insert(0, str(ROOT / "tests"))

from support import browsers
from support.bad_links import Cut, bad_link
from support.films import write_film
from support.services import serving

PHOTOS = [ROOT / "examples" / "mugs" / "eval" / name for name in ("blue/003.jpg", "white/004.jpg")]
SIZE, HEIGHT, STILL = (640, 480), 900, 45


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    pictures = [ImageOps.fit(Image.open(path).convert("RGB"), SIZE) for path in PHOTOS]
    with tempfile.TemporaryDirectory() as name:
        film = (picture for picture in pictures for _ in range(STILL))
        options = write_film(Path(name) / "film.y4m", film, SIZE)
        with (
            serving("--ui", f"mugs-int8={args.artifact}") as service,
            bad_link(int(service.url.rpartition(":")[2]), delay_s=0.04) as (link, begin),
            browsers.chromium(Path(name), *options) as browser,
        ):
            browser.resize(WIDTH, HEIGHT)
            browser.goto(f"http://127.0.0.1:{link.port}/#camera")
            wait(browser, "document.querySelector('.choice')?.innerText")
            browser.evaluate("document.getElementById('camera-failover').click()")
            wait(browser, "document.getElementById('engine-state').innerText.startsWith('ready')")
            browser.evaluate("document.getElementById('camera-start').click()")
            wait(browser, "document.querySelectorAll('#camera-plot .server').length >= 45")
            begin(link.play([Cut(0, 2.5, "reset")])).result(10)
            wait(browser, "document.querySelectorAll('#camera-plot .server').length >= 75")
            time.sleep(0.3)
            shot = Image.open(io.BytesIO(browser.picture())).convert("RGB")
    shot.quantize(COLORS).save(args.picture, optimize=True)
    print(f"{args.picture}: {shot.width} x {shot.height}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
