"""From a scene to a photo: look, render, expose, develop, and refuse what no person could tell."""

import io
from dataclasses import dataclass
from typing import Any

import mitsuba as mi
import numpy as np
from materials import Node
from PIL import Image, ImageFilter
from scene import DOMAINS, Scene, build

Array = np.ndarray
Rng = np.random.Generator

MAX_DEPTH = 9
LUMA = np.array([0.2126, 0.7152, 0.0722])
COVER = (0.065, 0.6)
MAX_HIDDEN = 0.4
MEAN = (0.16, 0.82)


@dataclass(frozen=True)
class Probe:
    """What a quick look at the scene says.

    Attributes:
        mug: where body and handle are seen, bool [H, W].
        albedo: diffuse albedo where opaque things other than the mug are seen, else 0, [H, W].
        hidden: share of the mug that is covered by other things or outside the frame.
    """

    mug: Array
    albedo: Array
    hidden: float


def take_photo(seed: list[int], split: str, label: str, samples: int) -> tuple[bytes, Array]:
    """Draw scenes until one makes an acceptable photo.

    Returns:
        The photo as a JPEG, and where its mug is seen, bool [H, W].
    """
    attempt = 0
    while True:
        rng = np.random.default_rng([*seed, attempt])
        attempt += 1
        scene = build(rng, label, DOMAINS[split])
        world = load(scene.mug | scene.rest)
        probe = look(scene, world)
        if probe.hidden > MAX_HIDDEN or not COVER[0] < probe.mug.mean() < COVER[1]:
            continue
        sensor = mi.load_dict(scene.camera.node(scene.size, samples))
        image = develop(rng, render(world, sensor, int(rng.integers(2**31))), probe)
        if is_clear(image, probe.mug, label):
            return encode(rng, image), probe.mug


def load(nodes: dict[str, Any]) -> mi.Scene:
    """Make a scene of nodes, one by one.

    Left to Mitsuba, nodes come in an order that varies, and with it the noise of a photo.
    """
    made = {name: mi.load_dict(n) if isinstance(n, dict) else n for name, n in nodes.items()}
    return mi.load_dict({"type": "scene", **made})


def look(scene: Scene, world: mi.Scene) -> Probe:
    """Trace one ray per pixel to find the mug, and once more for the mug alone in a wider frame."""
    alone, _ = trace(load(scene.mug), scene.camera.node(scene.size, 1, widen=2.0))
    seen, albedo = trace(world, scene.camera.node(scene.size, 1))
    mug = np.isin(seen, ["mug_body", "mug_handle"])
    whole = 4 * np.count_nonzero(np.isin(alone, ["mug_body", "mug_handle"]))
    background = np.where(np.char.startswith(seen, "mug"), 0, albedo)
    return Probe(mug, background, hidden=1 - np.count_nonzero(mug) / max(whole, 1))


def trace(world: mi.Scene, camera: Node) -> tuple[Array, Array]:
    """Names of the shapes seen and their albedo, both [H, W]."""
    integrator = mi.load_dict({"type": "aov", "aovs": "index:shape_index,albedo:albedo"})
    image = np.array(integrator.render(world, mi.load_dict(camera), seed=0))
    names = np.array(["", *(shape.id() for shape in world.shapes())])
    return names[image[..., 0].astype(int)], image[..., 1:4] @ LUMA


def render(world: mi.Scene, sensor: mi.Sensor, seed: int) -> Array:
    """Linear radiance, float [H, W, 3], free of lone bright pixels."""
    integrator = mi.load_dict({"type": "path", "max_depth": MAX_DEPTH, "rr_depth": 4})
    return without_fireflies(np.array(integrator.render(world, sensor, seed=seed)))


def without_fireflies(image: Array) -> Array:
    """Dim each pixel that is far brighter than all but one of its neighbours."""
    light = image @ LUMA
    padded = np.pad(light, 1, mode="edge")
    rows, columns = light.shape
    around = [
        padded[y : y + rows, x : x + columns]
        for y in range(3)
        for x in range(3)
        if (y, x) != (1, 1)
    ]
    limit = 1.1 * np.sort(around, axis=0)[-2] + 1e-6
    return image * np.minimum(1, limit / np.maximum(light, 1e-9))[..., None]


def develop(rng: Rng, radiance: Array, probe: Probe) -> Array:
    """Expose, with errors of exposure, white balance, noise and focus; uint8 sRGB [H, W, 3]."""
    image = radiance * exposure(radiance, probe) * 2 ** np.clip(rng.normal(0, 0.3), -0.65, 0.5)
    warmth, green = rng.normal(0, 0.045), rng.normal(0, 0.015)
    image = image * [1 + warmth, 1 + green, 1 - warmth]
    image = image + rng.normal(0, 1, image.shape) * np.sqrt(
        np.maximum(image, 0) * rng.uniform(0, 0.0012) + rng.uniform(0, 0.006) ** 2
    )
    image = np.clip(image, 0, None)
    image = np.where(image < 0.6, image, 1 - 0.4 * np.exp(-(image - 0.6) / 0.4))
    image = np.where(image <= 0.0031308, 12.92 * image, 1.055 * image ** (1 / 2.4) - 0.055)
    photo = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
    return np.array(photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.35, 0.8))))


def exposure(radiance: Array, probe: Probe) -> float:
    """The gain of a meter that mostly goes by the light that falls on the scene.

    A meter that goes by the reflected light alone would turn a black mug on black cloth grey.
    """
    solid = probe.albedo > 0.02
    falling = (radiance[solid] @ LUMA).sum() / max(probe.albedo[solid].sum(), 1e-6)
    reflected = float((radiance @ LUMA).mean()) / 0.3
    return 0.85 / max(falling**0.75 * reflected**0.25, 1e-6)


def is_clear(image: Array, mug: Array, label: str) -> bool:
    """Whether the mug's colour in the photo leaves no doubt about its class."""
    if not MEAN[0] < image.mean() / 255 < MEAN[1] or (image.max(axis=2) > 250).mean() > 0.3:
        return False
    pixels = image[mug] / 255
    high, low = pixels.max(axis=1), pixels.min(axis=1)
    saturation = (high - low) / np.maximum(high, 1e-3)
    blueness = pixels[:, 2] - pixels[:, :2].max(axis=1)
    match label:
        case "white":
            cold, pink = high - pixels[:, 0], pixels[:, 0] - pixels[:, 1]
            clean = np.median(saturation) < 0.17 and np.median(cold) < 0.045
            return bool(clean and np.median(pink) < 0.1 and np.median(high) > 0.62)
        case "black":
            return bool(np.median(high) < 0.31 and np.median(high - low) < 0.06)
        case "blue":
            is_blue = (saturation > 0.38) & (blueness > 0.1) & (low < 0.6)
            return bool(is_blue.mean() > 0.55)
        case _:
            return True


def encode(rng: Rng, image: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(rng.integers(70, 93)))
    return buffer.getvalue()
