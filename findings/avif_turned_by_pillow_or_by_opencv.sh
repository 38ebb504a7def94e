#!/usr/bin/env bash
# Guess: an upright photo that Pillow saves as AVIF with its EXIF block is upright in OpenCV too,
#   as the same photo is as JPEG, PNG and WebP.
# Instead: Pillow moves the orientation out of EXIF into the file's irot property, which is what
#   AVIF asks for; OpenCV reads EXIF alone, and shows the photo on its side.
# Seen with: Pillow 13.0.0, opencv-python-headless 5.0.0.93 (Python 3.11, Linux x86_64,
#   2026-11-28).
# Why it matters: photos converted to AVIF to save space are classified lying on their side by
#   everything that reads them with OpenCV.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pillow==13.0.0 opencv-python-headless==5.0.0.93 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import io
import sys

import cv2
import numpy as np
from PIL import Image, ImageOps

photo = Image.new("RGB", (96, 64), "olive")
tags = Image.Exif()
tags[0x0112] = 6  # held upright: 64 wide and 96 high
seen = {}
for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
    file = io.BytesIO()
    photo.save(file, kind, exif=tags)
    by_opencv = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    by_pillow = ImageOps.exif_transpose(Image.open(file))
    seen[kind] = (by_pillow.size, by_opencv.shape[1::-1])
    print(f"{kind}: Pillow {seen[kind][0]}, OpenCV {seen[kind][1]}")
upright, lying = (64, 96), (96, 64)
alike = all(seen[kind] == (upright, upright) for kind in ("JPEG", "PNG", "WEBP"))
sys.exit(0 if alike and seen["AVIF"] == (upright, lying) else 1)
PYTHON
