#!/usr/bin/env bash
# Guess: pillow-heif takes exif=Image.Exif() when saving as it takes the same block as bytes, and
#   as Pillow's own formats do.
# Instead: with bytes the photo is turned by the file's irot; with the object the tag is set to 1
#   and nothing is turned, so that the photo lies on its side and nothing says so.
# Seen with: pillow-heif 1.8.1, Pillow 13.0.0 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: image.getexif() is the usual way to keep a photo's tags, and its result is such
#   an object. Call tobytes() on it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pillow-heif==1.8.1 pillow==13.0.0 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import io
import sys

import pillow_heif
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()
photo = Image.new("RGB", (96, 64), "olive")
tags = Image.Exif()
tags[0x0112] = 6  # held upright: 64 wide and 96 high


def shown(kind: str, exif: object) -> tuple[int, int]:
    file = io.BytesIO()
    photo.save(file, kind, exif=exif)
    return ImageOps.exif_transpose(Image.open(file)).size


seen = {(kind, type(exif).__name__): shown(kind, exif)
        for kind in ("JPEG", "HEIF") for exif in (tags.tobytes(), tags)}  # fmt: skip
print(seen)
upright, lying = (64, 96), (96, 64)
sys.exit(0 if list(seen.values()) == [upright, upright, upright, lying] else 1)
PYTHON
