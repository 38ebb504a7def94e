"""Procedural colours and textures: everything that is painted on a surface.

Colours are sRGB triples in 0..1; textures are uint8 sRGB images [H, W, 3].
"""

import colorsys
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Rng = np.random.Generator
Colour = tuple[float, float, float]

SIZE = 256
PATTERNS = ("plain", "wood", "checks", "stripes", "clouds", "dots")
EVAL_PATTERNS = ("marble", "cloth", "terrazzo", "tiles")


def hsv(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def to_linear(colour: Colour) -> list[float]:
    """sRGB to linear reflectance."""
    c = np.asarray(colour)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).tolist()


def white(rng: Rng) -> Colour:
    """White, cream or slightly grey."""
    hue = rng.choice([0.1, 0.13, 0.6])
    strength = rng.uniform(0, 0.14) if hue < 0.5 else rng.uniform(0, 0.03)
    return hsv(hue, strength, rng.uniform(0.86, 0.98))


def black(rng: Rng) -> Colour:
    """Black to dark charcoal."""
    return hsv(rng.uniform(0, 0.15), rng.uniform(0, 0.1), rng.uniform(0.03, 0.17))


def blue(rng: Rng) -> Colour:
    """Navy to sky: the darker, the more saturated."""
    depth = rng.uniform(0, 1)
    hue = 0.572 + 0.082 * depth + rng.uniform(-0.012, 0.012)
    return hsv(hue, 0.6 + 0.3 * depth + rng.uniform(-0.05, 0.08), 0.92 - 0.46 * depth)


def any_colour(rng: Rng) -> Colour:
    """A colour for surroundings: often white, black or blue, so that these give nothing away."""
    kinds = ["white", "black", "blue", "brown", "muted", "vivid"]
    match rng.choice(kinds, p=[0.16, 0.12, 0.16, 0.16, 0.22, 0.18]):
        case "white":
            return white(rng)
        case "black":
            return black(rng)
        case "blue":
            return blue(rng)
        case "brown":
            return hsv(rng.uniform(0.04, 0.11), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.85))
        case "muted":
            return hsv(rng.uniform(), rng.uniform(0.05, 0.35), rng.uniform(0.3, 0.85))
        case _:
            return hsv(rng.uniform(), rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.95))


def texture(rng: Rng, patterns: tuple[str, ...]) -> Array:
    """Paint one of the patterns in two random colours, with a little grain."""
    mix = PAINTERS[str(rng.choice(patterns))](rng)[..., None]
    first, second = np.array(any_colour(rng)), np.array(any_colour(rng))
    second = first + (second - first) * rng.uniform(0.25, 1.0)
    grain = 1 + rng.uniform(0, 0.12) * (clouds(rng, 24) - 0.5)[..., None]
    return to_bytes((first * (1 - mix) + second * mix) * grain)


def glaze(rng: Rng, colour: Colour, inside: Colour, split: float) -> Array:
    """A mug's glaze: one colour outside, one inside, sometimes a band or a print.

    Args:
        split: where, along the outline from foot over lip to floor, the inside begins.
    """
    speckle = rng.uniform(0, 0.06) * (clouds(rng, 8) - 0.5)[..., None]
    image = np.array(colour) + np.zeros((SIZE, SIZE, 3))
    image[int(split * SIZE) :] = inside
    draw = rng.uniform()
    if draw < 0.12:
        paint_bands(rng, image, split)
    elif draw < 0.3:
        paint_print(rng, image, split)
    return to_bytes(image * (1 + speckle))


def paint_bands(rng: Rng, image: Array, split: float) -> None:
    """One or two thin rings around the outside."""
    colour = any_colour(rng)
    for _ in range(rng.integers(1, 3)):
        top = int(SIZE * split * rng.uniform(0.35, 0.93))
        image[top : top + int(rng.integers(3, 8))] = colour


def paint_print(rng: Rng, image: Array, split: float) -> None:
    """A small disc, ring, square or row of dots on the outside."""
    row, column = np.mgrid[:SIZE, :SIZE] / SIZE
    x = (column - rng.uniform()) * 2.6
    y = (row - split * rng.uniform(0.55, 0.75)) / split * 1.3
    size = rng.uniform(0.07, 0.16)
    match rng.choice(["disc", "ring", "square", "dots"]):
        case "disc":
            mask = x**2 + y**2 < size**2
        case "ring":
            mask = np.abs(np.hypot(x, y) - size) < 0.025
        case "square":
            mask = np.maximum(np.abs(x), np.abs(y)) < size * 0.8
        case _:
            mask = (np.abs(y) < 0.05) & (np.hypot((x * 6) % 1 - 0.5, y * 6) < 0.3)
    image[mask] = any_colour(rng)


def gradient_sky(rng: Rng) -> Array:
    """Light from all around, linear float [64, 128, 3]: a tinted gradient, blobs and windows."""
    height, width = 64, 128
    up = np.linspace(1, 0, height)[:, None, None]
    warmth = rng.uniform(-0.2, 0.2)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    sky = (rng.uniform(0.15, 0.5) + rng.uniform(0.1, 0.6) * up) * tint
    sky = np.broadcast_to(sky, (height, width, 3)).copy()
    blocks = rng.uniform(0, 1, (6, 10, 3)) * rng.uniform(0.2, 1.0)
    sky *= 0.55 + np.stack([resize(blocks[..., i], (height, width)) for i in range(3)], axis=-1)
    for _ in range(rng.integers(0, 4)):
        top, left = int(rng.integers(4, 30)), int(rng.integers(0, width - 24))
        rows, columns = rng.integers(5, 18), rng.integers(6, 24)
        cast = np.array([1 + (w := rng.uniform(-0.2, 0.2)), 1.0, 1 - w])
        sky[top : top + rows, left : left + columns] = rng.uniform(2, 6) * cast
    return sky


def resize(grid: Array, shape: tuple[int, int]) -> Array:
    """Stretch a coarse grid to a size, with smooth steps between its values."""
    axes = []
    for coarse, fine in zip(grid.shape, shape, strict=True):
        position = np.linspace(0, coarse - 1, fine)
        start = np.minimum(position.astype(int), coarse - 2)
        part = position - start
        axes.append((start, part * part * (3 - 2 * part)))
    (row, v), (column, u) = axes
    upper = grid[row][:, column] * (1 - u) + grid[row][:, column + 1] * u
    lower = grid[row + 1][:, column] * (1 - u) + grid[row + 1][:, column + 1] * u
    return upper * (1 - v[:, None]) + lower * v[:, None]


def clouds(rng: Rng, cells: int = 4) -> Array:
    """Three octaves of smooth noise in 0..1."""
    total = sum(resize(rng.uniform(0, 1, (cells << i,) * 2), (SIZE, SIZE)) / 2**i for i in range(3))
    return total / 1.75


def plain(rng: Rng) -> Array:
    return clouds(rng, int(rng.integers(2, 8))) * rng.uniform(0.05, 0.3)


def wood(rng: Rng) -> Array:
    """Long grain with a few wandering rings."""
    x, y = plane()
    wander = clouds(rng, 2) * rng.uniform(0.5, 2.0)
    rings = 0.5 + 0.5 * np.sin((y * rng.uniform(4, 14) + wander) * 2 * np.pi)
    fibre = resize(rng.uniform(0, 1, (128, 4)), (SIZE, SIZE))
    planks = np.floor(y * rng.integers(2, 7)) % 2
    return 0.5 * rings + 0.3 * fibre + 0.2 * planks * (x > -1)


def checks(rng: Rng) -> Array:
    x, y = turned(rng)
    count = rng.integers(4, 18)
    return (np.floor(x * count) + np.floor(y * count)) % 2


def stripes(rng: Rng) -> Array:
    x, _ = turned(rng)
    wave = np.sin(x * rng.uniform(6, 40) * np.pi)
    return np.clip(0.5 + wave * rng.choice([0.5, 8.0]), 0, 1)


def dots(rng: Rng) -> Array:
    x, y = turned(rng)
    count, size = rng.integers(5, 16), rng.uniform(0.15, 0.4)
    return (np.hypot((x * count) % 1 - 0.5, (y * count) % 1 - 0.5) < size).astype(float)


def marble(rng: Rng) -> Array:
    """Thin veins along the zero line of a warped wave."""
    x, _ = turned(rng)
    wave = np.sin((x * rng.uniform(2, 5) + clouds(rng, 4) * rng.uniform(1.5, 4)) * np.pi)
    return np.exp(-np.abs(wave) * rng.uniform(3, 8)) * clouds(rng, 3) * 1.4


def cloth(rng: Rng) -> Array:
    """Tartan: wide soft bands in both directions over a fine weave."""
    x, y = turned(rng)
    count = rng.uniform(3, 9)
    bands = (np.sin(x * count * np.pi) > 0.2) * 0.45 + (np.sin(y * count * np.pi) > 0.2) * 0.45
    return bands + 0.1 * (0.5 + 0.5 * np.sin(x * 160) * np.sin(y * 160))


def terrazzo(rng: Rng) -> Array:
    """Round chips of several sizes and shades."""
    x, y = plane()
    points = rng.uniform(0, 1, (120, 2))
    shade = np.zeros_like(x)
    for u, v in points:
        shade[(x - u) ** 2 + (y - v) ** 2 < rng.uniform(0.01, 0.045) ** 2] = rng.uniform(0.4, 1)
    return shade


def tiles(rng: Rng) -> Array:
    """Bricks or tiles with joints, each of a slightly different shade."""
    x, y = plane()
    count, joint = int(rng.integers(4, 12)), rng.uniform(0.04, 0.1)
    row = np.floor(y * count)
    x = x * count * rng.choice([0.5, 1.0]) + 0.5 * (row % 2) * rng.integers(0, 2)
    shade = rng.uniform(0, 0.35, (count + 1, count + 2))[row.astype(int), x.astype(int)]
    return np.where((x % 1 < joint) | ((y * count) % 1 < joint), 1.0, shade)


def plane() -> tuple[Array, Array]:
    """Coordinates x, y in 0..1."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    return x, y


def turned(rng: Rng) -> tuple[Array, Array]:
    """Coordinates turned by a random angle."""
    x, y = plane()
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    return x * np.cos(angle) - y * np.sin(angle) + 2, x * np.sin(angle) + y * np.cos(angle) + 2


def to_bytes(image: Array) -> Array:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


PAINTERS: dict[str, Callable[[Rng], Array]] = {
    "plain": plain,
    "wood": wood,
    "checks": checks,
    "stripes": stripes,
    "clouds": clouds,
    "dots": dots,
    "marble": marble,
    "cloth": cloth,
    "terrazzo": terrazzo,
    "tiles": tiles,
}
