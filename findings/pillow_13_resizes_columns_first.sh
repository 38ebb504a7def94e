#!/usr/bin/env bash
# Guess: Pillow's resize gives the same bytes whatever its version; it has gone along rows first and
#   then along columns since 2016, rounding to bytes each time, and other readers copy that.
# Instead: Pillow 13 goes along columns first where the height shrinks by more than twice what the
#   width does, in pixels: (h - out_h) > 2 * (w - out_w). Levels then differ by 1.
# Seen with: Pillow 12.2.0 and 13.0.0 (Python 3.11, Linux x86_64, 2026-11-29).
# Why it matters: a tall picture, or one that is enlarged in width, becomes another tensor after an
#   update of Pillow, and hashes of tensors, caches and perceptual hashes with it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/resize.py" <<'PYTHON'
import random

import PIL
from PIL import Image

def noise(width, height):
    return Image.frombytes("RGB", (width, height), random.Random(0).randbytes(3 * width * height))

def same(width, height, out):
    """Whether one call gives what rows and then columns give."""
    image = noise(width, height)
    steps = image.resize((out, height), 2).resize((out, out), 2)
    return image.resize((out, out), 2).tobytes() == steps.tobytes()

print(PIL.__version__, "wide", same(400, 200, 96), "square", same(200, 200, 96), "tall", same(100, 400, 96))
PYTHON
for version in 12.2.0 13.0.0; do
    "${PYTHON:-python3}" -m venv "$folder/$version" || exit 2
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check pillow==$version || exit 2
    "$folder/$version/bin/python" -I "$folder/resize.py" | tee -a "$folder/said"
done
cmp - "$folder/said" <<'EXPECTED'
12.2.0 wide True square True tall True
13.0.0 wide True square True tall False
EXPECTED
