"""Draw small stand-ins for the six scenes, in the folders of the real data set.

They show that the example runs; what a network learns from them says nothing about photos.
"""

import argparse
import math
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIDE = 150
FOLDERS = {"train": Path("seg_train/seg_train"), "eval": Path("seg_test/seg_test")}
Colour = tuple[int, int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for seg_train and seg_test")
    parser.add_argument("--train", type=int, default=8, help="a class (default: %(default)s)")
    parser.add_argument("--eval", type=int, default=4, help="a class (default: %(default)s)")
    args = parser.parse_args()
    draw_all(args.out, {"train": args.train, "eval": args.eval})


def draw_all(out: Path, counts: dict[str, int]) -> None:
    """Writes `counts` scenes of each class; each has its own seed, so a set is reproducible."""
    for split, count in counts.items():
        for label in SCENES:
            folder = out / FOLDERS[split] / label
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                scene = draw_scene(label, random.Random(f"{split}/{label}/{index}"))
                scene.save(folder / f"{index:04d}.jpg", quality=92)


def draw_scene(label: str, rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE))
    SCENES[label](ImageDraw.Draw(image), rng)
    return image.filter(ImageFilter.GaussianBlur(0.6))


def buildings(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    sky(draw, rng, SIDE)
    left = rng.randint(-25, -5)
    while left < SIDE:
        width, top = rng.randint(28, 55), rng.randint(8, 70)
        wall = vary(rng, rng.choice([(150, 120, 100), (120, 125, 135), (175, 165, 150)]))
        draw.rectangle((left, top, left + width, SIDE), wall)
        pane = vary(rng, rng.choice([(60, 75, 95), (235, 220, 150)]))
        for x in range(left + 4, left + width - 6, 9):
            for y in range(top + 5, SIDE - 6, 11):
                draw.rectangle((x, y, x + 4, y + 6), pane)
        left += width + rng.randint(0, 6)


def forest(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    gradient(draw, (60, 100, 50), (25, 50, 20), 0, SIDE)
    for _ in range(rng.randint(9, 14)):
        x, width = rng.randint(0, SIDE), rng.randint(3, 9)
        draw.rectangle((x, 0, x + width, SIDE), vary(rng, (70, 50, 35)))
    for _ in range(160):
        x, y, radius = rng.randint(0, SIDE), rng.randint(-5, 105), rng.randint(4, 12)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), vary(rng, (50, 105, 40), 30))


def glacier(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    sky(draw, rng, 60)
    gradient(draw, (215, 235, 245), (150, 195, 220), 45, SIDE)
    draw.polygon(ridge(rng, base=45, height=16), vary(rng, (105, 115, 130)))
    for _ in range(22):
        x, y, size = rng.randint(-10, SIDE), rng.randint(50, SIDE), rng.randint(10, 30)
        corners = [(x, y), (x + size, y - size // 2), (x + 2 * size, y), (x + size, y + size // 3)]
        draw.polygon(corners, vary(rng, (225, 240, 248), 14))
        draw.line((corners[0], corners[3], corners[2]), vary(rng, (95, 155, 195)), 2)


def mountain(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    sky(draw, rng, SIDE)
    draw.polygon(ridge(rng, base=100, height=35), vary(rng, (125, 130, 150)))
    for _ in range(2):
        peak, top, half = rng.randint(30, 120), rng.randint(18, 48), rng.randint(65, 95)
        rock = vary(rng, (95, 85, 78))
        draw.polygon([(peak, top), (peak + half, SIDE), (peak - half, SIDE)], rock)
        snow = rng.randint(20, 32)
        reach = half * snow // (SIDE - top)
        foot = [(peak + reach, top + snow), (peak, top + snow - 9), (peak - reach, top + snow)]
        draw.polygon([(peak, top), *foot], (240, 243, 248))
    draw.rectangle((0, 134, SIDE, SIDE), vary(rng, (75, 95, 60)))


def sea(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    horizon = rng.randint(45, 80)
    sky(draw, rng, horizon)
    gradient(draw, (40, 105, 150), (15, 60, 100), horizon, SIDE)
    for _ in range(45):
        y = rng.randint(horizon + 2, SIDE)
        x, length = rng.randint(-20, SIDE), rng.randint(6, 8 + (y - horizon) // 2)
        draw.arc((x, y - 3, x + length, y + 3), 180, 360, vary(rng, (165, 205, 225), 25), 1)


def street(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    sky(draw, rng, SIDE)
    middle, far = SIDE // 2 + rng.randint(-14, 14), rng.randint(58, 78)
    for side in (0, SIDE):
        house = vary(rng, rng.choice([(165, 110, 85), (190, 170, 130), (130, 120, 115)]))
        edge = middle + (8 if side else -8)
        top = rng.randint(0, 20)
        draw.polygon([(side, top), (edge, far - 16), (edge, far), (side, SIDE)], house)
        for step in range(1, 5):
            x = side + (edge - side) * step // 6
            y = top + (far - top) * step // 6
            draw.rectangle((x - 4, y + 12, x + 4, y + 28), vary(rng, (55, 60, 70)))
    draw.polygon([(middle - 8, far), (middle + 8, far), (SIDE, SIDE), (0, SIDE)],
                 vary(rng, (85, 85, 90)))  # fmt: skip
    for near in (0.1, 0.28, 0.5, 0.76):
        y = far + near * (SIDE - far)
        draw.rectangle((middle - 1 - 2 * near, y, middle + 1 + 2 * near, y + 4 + 12 * near),
                       (235, 230, 200))  # fmt: skip


SCENES: dict[str, Callable[[ImageDraw.ImageDraw, random.Random], None]] = {
    "buildings": buildings,
    "forest": forest,
    "glacier": glacier,
    "mountain": mountain,
    "sea": sea,
    "street": street,
}


def sky(draw: ImageDraw.ImageDraw, rng: random.Random, bottom: int) -> None:
    top = vary(rng, rng.choice([(95, 150, 215), (150, 165, 185), (190, 175, 170)]))
    gradient(draw, top, (225, 230, 235), 0, bottom)


def gradient(draw: ImageDraw.ImageDraw, first: Colour, last: Colour, top: int, bottom: int) -> None:
    for y in range(top, bottom):
        share = (y - top) / (bottom - top)
        row = [round(a + share * (b - a)) for a, b in zip(first, last, strict=True)]
        draw.line((0, y, SIDE, y), tuple(row))


def ridge(rng: random.Random, base: int, height: int) -> list[tuple[float, float]]:
    phase, waves = rng.uniform(0, 6), rng.uniform(0.04, 0.09)
    tops = [(x, base - height * abs(math.sin(phase + waves * x))) for x in range(0, SIDE + 10, 10)]
    return [(0, SIDE), *tops, (SIDE, SIDE)] if base > SIDE / 2 else [(0, base), *tops, (SIDE, base)]


def vary(rng: random.Random, colour: Colour, by: int = 18) -> Colour:
    red, green, blue = (min(255, max(0, c + rng.randint(-by, by))) for c in colour)
    return red, green, blue


if __name__ == "__main__":
    main()
