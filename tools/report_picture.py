"""The picture of a report that README and docs show, taken by a headless Chromium."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_WIDTH, _HEIGHT = 1120, 985  # of the page's head: recommendation, findings, first table
_COLORS = 128  # a report has few; a palette makes the file a third
_MAX_BYTES = 150_000


def take_picture(page: Path, picture: Path) -> None:
    """Writes the head of a report as a PNG; says so if there is no browser to do it."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        print(f"{picture.name} stays as it is: none of {', '.join(_BROWSERS)} is installed.")
        return
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "report.png"
        command = [browser, "--headless", "--disable-gpu", "--hide-scrollbars",
                   *["--no-sandbox"] * (os.geteuid() == 0),  # it refuses to run as root else
                   f"--user-data-dir={folder}", f"--window-size={_WIDTH},{_HEIGHT}",
                   f"--screenshot={shot}", page.resolve().as_uri()]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            small = image.convert("RGB").quantize(_COLORS)
    content = io.BytesIO()
    small.save(content, "PNG", optimize=True)
    if content.tell() > _MAX_BYTES:
        raise SystemExit(f"{picture.name} would have {content.tell():,} bytes, over {_MAX_BYTES:,}")
    picture.write_bytes(content.getvalue())
