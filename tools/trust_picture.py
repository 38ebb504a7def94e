"""The picture of a mug, of something else and of an explanation that README and docs show.

python tools/trust_picture.py runs/demo/mugs.int8.tflite docs/images/trust.png

The other thing is a street drawn by examples/scenes_distillation. The file must be calibrated.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

import edgeclf

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples" / "scenes_distillation"))

from make_stand_in import draw_scene  # noqa: E402

MUG = ROOT / "examples" / "mugs" / "eval" / "blue" / "003.jpg"
SIDE, MARGIN, TEXT = 300, 16, 17
WORDS = 76  # rows below a picture
COLORS = 200


def words_for(answer: edgeclf.Prediction) -> str:
    """What an answer comes to, on two lines."""
    said = f"“{answer.label}” by {answer.probability:.2f}"
    if answer.unknown:
        return f"unknown\n(the network says {said})"
    percent = math.floor(100 * (answer.confidence or 0))  # nothing is ever 100 % sure
    return f"{answer.label}, {percent}% sure\n(the network says {said})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    mug = Image.open(MUG).convert("RGB")
    mug = ImageOps.fit(mug, (min(mug.size), min(mug.size)))
    street = draw_scene("street", random.Random(2))
    with edgeclf.Classifier(args.artifact) as classifier:
        answers = [classifier.classify(np.asarray(each)) for each in (mug, street)]
        explanation = edgeclf.explain(classifier, np.asarray(mug))
    if answers[0].unknown is None:
        raise SystemExit(f"{args.artifact} is not calibrated; run: edgeclf calibrate")
    overlay = explanation.overlay(np.asarray(mug))
    gap = 12  # around and between the overlay's two pictures, which are squares here
    side = (overlay.width - 3 * gap) // 2
    left = 2 * gap + side
    shown = overlay.crop((left, gap, left + side, gap + side))
    panels = [
        (mug, words_for(answers[0])),
        (shown, f"where that came from\n({explanation.method}, {explanation.passes} pass)"),
        (street, words_for(answers[1])),
    ]
    canvas = Image.new(
        "RGB", (len(panels) * (SIDE + MARGIN) + MARGIN, SIDE + MARGIN + WORDS), "white"
    )
    draw = ImageDraw.Draw(canvas)
    for place, (picture, words) in enumerate(panels):
        left = MARGIN + place * (SIDE + MARGIN)
        canvas.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, MARGIN))
        draw.multiline_text(
            (left, SIDE + MARGIN + 10), words, "black", ImageFont.load_default(TEXT), spacing=6
        )
    canvas.quantize(COLORS).save(args.picture, optimize=True)
    print("; ".join(words for _, words in panels).replace("\n", " "))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
