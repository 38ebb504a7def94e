"""A random photo scene with one mug, as Mitsuba sees it."""

from dataclasses import dataclass
from typing import Any

import mitsuba as mi
import numpy as np
import shapes
import textures
from clutter import EVAL_KINDS, KINDS, clutter_nodes
from materials import (
    Node,
    bitmap,
    ceramic,
    glass,
    mesh_shape,
    painted,
    rectangle,
    rgb,
    transform,
    turned,
)

Array = np.ndarray
Rng = np.random.Generator

SIZES = ((192, 192), (192, 160), (160, 192), (208, 160), (160, 208), (176, 176))
PIGMENTS = {"white": textures.white, "black": textures.black, "blue": textures.blue}
DRINKS = ((0.22, 0.12, 0.07), (0.62, 0.34, 0.12), (0.72, 0.55, 0.38), (0.45, 0.2, 0.08))
GLASS_DRINKS = ((0.95, 0.62, 0.2), (0.9, 0.4, 0.15), (0.75, 0.85, 0.4), (0.9, 0.3, 0.35))
GLASS_TINTS = ((0.82, 0.95, 0.85), (0.97, 0.88, 0.72), (0.96, 0.84, 0.86), (0.85, 0.85, 0.84))


@dataclass(frozen=True)
class Domain:
    """What a split may show. Evaluation photos have shapes and patterns of their own."""

    families: tuple[str, ...]
    handles: tuple[str, ...]
    patterns: tuple[str, ...]
    clutter: tuple[str, ...]
    elevation: tuple[float, float]
    view: tuple[float, float]
    fill: tuple[float, float]


TRAIN = Domain(
    families=shapes.FAMILIES,
    handles=shapes.HANDLES,
    patterns=textures.PATTERNS,
    clutter=KINDS,
    elevation=(5, 48),
    view=(28, 48),
    fill=(0.4, 0.85),
)
EVAL = Domain(
    families=shapes.FAMILIES + 2 * shapes.EVAL_FAMILIES,
    handles=shapes.HANDLES + shapes.EVAL_HANDLES,
    patterns=textures.PATTERNS + 2 * textures.EVAL_PATTERNS,
    clutter=KINDS + EVAL_KINDS,
    elevation=(3, 55),
    view=(24, 56),
    fill=(0.37, 0.95),
)
DOMAINS = {"train": TRAIN, "eval": EVAL}


@dataclass(frozen=True)
class Camera:
    """Position and lens; angles in degrees, lengths in mug heights."""

    origin: Array
    target: Array
    up: Array
    view: float
    aperture: float
    focus: float

    def node(self, size: tuple[int, int], samples: int, widen: float = 1.0) -> Node:
        """The sensor; `widen` multiplies the width and height of what it sees."""
        view = np.degrees(2 * np.arctan(widen * np.tan(np.radians(self.view) / 2)))
        film = {"type": "hdrfilm", "width": size[0], "height": size[1], "rfilter": {"type": "box"}}
        return {
            "type": "thinlens",
            "fov": float(view),
            "fov_axis": "smaller",
            "aperture_radius": self.aperture,
            "focus_distance": self.focus,
            "to_world": transform().look_at(
                self.origin.tolist(), self.target.tolist(), self.up.tolist()
            ),
            "film": film,
            "sampler": {"type": "multijitter", "sample_count": samples},
        }


@dataclass(frozen=True)
class Scene:
    """Everything in front of the camera. Parts of the mug are kept apart for masks."""

    size: tuple[int, int]
    camera: Camera
    mug: dict[str, Any]
    rest: dict[str, Any]


def build(rng: Rng, label: str, domain: Domain) -> Scene:
    """Draw a scene with a mug of the class `label`."""
    shape = shapes.random_mug(rng, domain.families, domain.handles)
    camera = random_camera(rng, shape, domain)
    size = SIZES[rng.integers(len(SIZES))]
    mug = mug_nodes(rng, shape, label)
    rest = room_nodes(rng, domain) | light_nodes(rng)
    rest |= clutter_nodes(rng, shape, domain.clutter, domain.patterns)
    return Scene(size, camera, mug, rest)


# Camera, room and lights


def random_camera(rng: Rng, shape: shapes.MugShape, domain: Domain) -> Camera:
    """Look at a point near the mug, from the -y side."""
    low, high = domain.elevation
    elevation = np.radians(low + (high - low) * rng.beta(1.2, 1.6))
    view = rng.uniform(*domain.view)
    extent = max(shape.height, 2 * shape.max_radius + 0.5 * shape.reach)
    distance = extent / (rng.uniform(*domain.fill) * 2 * np.tan(np.radians(view) / 2))
    away = np.array([0, -np.cos(elevation), np.sin(elevation)])
    slack = 0.3 * (2 * distance * np.tan(np.radians(view) / 2) - 0.6 * extent)
    shift = rng.uniform(-slack, slack), rng.uniform(-0.6 * slack, 0.6 * slack)
    target = np.array([shift[0], 0, shape.height / 2 + shift[1]])
    roll = np.radians(rng.normal(0, 4))
    return Camera(
        origin=target + distance * away,
        target=target,
        up=np.array([np.sin(roll), 0, np.cos(roll)]),
        view=view,
        aperture=distance * float(rng.choice([0.002, rng.uniform(0.005, 0.025)])),
        focus=distance,
    )


def room_nodes(rng: Rng, domain: Domain) -> dict[str, Node]:
    """A table and, mostly, a wall behind it."""
    table = transform().rotate([0, 0, 1], rng.uniform(0, 360)).scale(9)
    nodes = {"table": rectangle(table, painted(rng, domain.patterns, rng.uniform(3, 8)))}
    if rng.uniform() < 0.72:
        wall = transform().translate([0, rng.uniform(1.2, 5), 0])
        wall = wall.rotate([0, 0, 1], rng.normal(0, 14)).rotate([1, 0, 0], 90).scale(11)
        nodes["wall"] = rectangle(wall, painted(rng, domain.patterns, rng.uniform(2, 9)))
    return nodes


def light_nodes(rng: Rng) -> dict[str, Node]:
    """Light from all around, and up to two lamps; some stand behind the mug."""
    sky = mi.Bitmap(textures.gradient_sky(rng).astype(np.float32))
    turn = transform().rotate([0, 0, 1], rng.uniform(0, 360)).rotate([1, 0, 0], 90)
    nodes: dict[str, Node] = {"sky": {"type": "envmap", "bitmap": sky, "to_world": turn}}
    for i in range(rng.integers(0, 3)):
        side = rng.uniform(-np.pi, 0) if rng.uniform() < 0.8 else rng.uniform(0, np.pi)
        distance = 2.5 if side > 0 else rng.uniform(3, 6)
        place = [distance * np.cos(side), 0.45 * distance * np.sin(side), rng.uniform(2.5, 6)]
        warmth = rng.uniform(-0.15, 0.25)
        radiance = rng.uniform(1, 4) * np.array([1 + warmth, 1, 1 - warmth])
        pose = transform().look_at(place, [0, 0, 0.5], [0, 0.1, 1]).scale(rng.uniform(1.0, 2.2))
        light = {"type": "area", "radiance": rgb(radiance)}
        nodes[f"lamp{i}"] = {"type": "rectangle", "to_world": pose, "emitter": light}
    return nodes


# The mug


def mug_nodes(rng: Rng, shape: shapes.MugShape, label: str) -> dict[str, Any]:
    """Body, handle and perhaps a drink, turned so that the handle is not at the back."""
    turn = rng.uniform(-235, 55)
    body = shape.body()
    lip = float(body.uvs[body.vertices[:, 2].argmax(), 1])
    is_glass = label == "transparent"
    wall, handle = glass_materials(rng) if is_glass else glaze_materials(rng, label, lip)
    nodes = {
        "mug_body": mesh_shape("mug_body", turned(body, turn), wall),
        "mug_handle": mesh_shape("mug_handle", turned(shape.grip_tube(), turn), handle),
    }
    if rng.uniform() < 0.4:
        level = rng.uniform(0.3, 0.7) if is_glass else rng.uniform(0.6, 0.9)
        material = drink_material(rng, is_glass)
        nodes["drink"] = mesh_shape("drink", shape.drink(level), material)
    return nodes


def glaze_materials(rng: Rng, label: str, lip: float) -> tuple[Node, Node]:
    """Ceramic for body and handle; blue and black mugs may be white inside."""
    colour = PIGMENTS[label](rng)
    two_tone = label != "white" and rng.uniform() < 0.18
    inside = textures.white(rng) if two_tone else colour
    image = textures.glaze(rng, colour, inside, lip)
    finish = rng.uniform()
    alpha = rng.uniform(0.06, 0.3)
    return (
        ceramic(bitmap(image, "clamp"), finish, alpha),
        ceramic(rgb(textures.to_linear(colour)), finish, alpha),
    )


def glass_materials(rng: Rng) -> tuple[Node, Node]:
    """Clear glass, now and then lightly tinted, but never blue."""
    tint = GLASS_TINTS[rng.integers(len(GLASS_TINTS))] if rng.uniform() < 0.25 else (1, 1, 1)
    return glass(tint), glass(tint)


def drink_material(rng: Rng, in_glass: bool) -> Node:
    """Coffee, tea or milk coffee; in a glass often something clear, tea or juice."""
    if in_glass and rng.uniform() < 0.6:
        tint = GLASS_DRINKS[rng.integers(len(GLASS_DRINKS))]
        return {"type": "dielectric", "int_ior": 1.33, "specular_transmittance": rgb(tint)}
    colour = textures.to_linear(DRINKS[rng.integers(len(DRINKS))])
    return {"type": "plastic", "diffuse_reflectance": rgb(colour)}
