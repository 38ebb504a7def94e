#!/usr/bin/env bash
# Guess: OpenCV turns a TIFF by its orientation tag as it turns a JPEG.
# Instead: for orientations 5 to 8 of a picture that is not square imread gives None (and logs an
#   internal error), also with IMREAD_IGNORE_ORIENTATION. imdecode reads the same bytes and turns
#   them; imread reads 1 to 4, and the JPEG with each of the eight.
# Seen with: opencv-python-headless 5.0.0.93, Pillow 13.0.0 (Python 3.11, Linux x86_64,
#   2026-11-28).
# Why it matters: scans and exports of photo software are TIFFs, and upright ones are 5 to 8. None
#   is no exception: a folder is read with holes in it. imdecode(numpy.fromfile(path, 'uint8'),
#   flags) reads them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import os
import sys

os.environ["OPENCV_LOG_LEVEL"] = "OFF"
import cv2
import numpy as np
from PIL import Image

picture = Image.fromarray(
    np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
)
tags = Image.Exif()
unread = {"tif": [], "jpg": []}
for orientation in range(1, 9):
    tags[0x0112] = orientation
    for suffix, missing in unread.items():
        picture.save(f"photo.{suffix}", exif=tags)
        if cv2.imread(f"photo.{suffix}") is None:
            missing.append(orientation)
lying = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
as_stored = cv2.imread("photo.tif", lying)
decoded = cv2.imdecode(np.fromfile("photo.tif", np.uint8), cv2.IMREAD_COLOR)
print(f"orientations that imread answers with None: {unread}")
print(f"8 without turning: {as_stored}; imdecode: {decoded.shape}")
as_before = unread == {"tif": [5, 6, 7, 8], "jpg": []}
sys.exit(0 if as_before and as_stored is None and decoded.shape == (64, 48, 3) else 1)
PYTHON
