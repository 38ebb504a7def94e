"""Things on the table that are no mugs."""

from typing import Any

import numpy as np
import shapes
import textures
from materials import Node, ceramic, glass, mesh_shape, painted, posed, rgb, transform

Rng = np.random.Generator

KINDS = ("box", "ball", "books", "bottle", "saucer", "pen", "spoon")
EVAL_KINDS = ("cone", "pyramid")
FOOTPRINTS = {"ball": 0.4, "box": 0.5, "bottle": 0.3, "cone": 0.4, "pen": 0.25}


def clutter_nodes(
    rng: Rng, shape: shapes.MugShape, kinds: tuple[str, ...], patterns: tuple[str, ...]
) -> dict[str, Any]:
    """Up to five things that are no mugs, around the mug and seldom in front of it."""
    nodes: dict[str, Any] = {}
    taken = [(0.0, 0.0, shape.max_radius + 0.3 * shape.reach)]
    for i in range(rng.choice(6, p=[0.14, 0.2, 0.22, 0.2, 0.14, 0.1])):
        kind = str(rng.choice(kinds))
        size = rng.uniform(0.6, 1.3)
        footprint = FOOTPRINTS.get(kind, 0.6) * size
        spot = free_spot(rng, taken, footprint)
        if spot is None:
            continue
        taken.append((*spot, footprint))
        pose = transform().translate([*spot, 0]).rotate([0, 0, 1], rng.uniform(0, 360))
        parts = CLUTTER[kind](rng, pose.scale(size), clutter_material(rng, patterns))
        nodes |= {f"{kind}{i}_{j}": part for j, part in enumerate(parts)}
    return nodes


def free_spot(
    rng: Rng, taken: list[tuple[float, float, float]], radius: float
) -> tuple[float, float] | None:
    """A place on the table, mostly beside or behind the mug, clear of what stands there."""
    for _ in range(12):
        angle = rng.uniform(-0.5, np.pi + 0.5) if rng.uniform() < 0.75 else rng.uniform(-np.pi, 0)
        distance = rng.uniform(0.6, 2.6 if angle > 0 else 1.7)
        x, y = distance * np.cos(angle), distance * np.sin(angle)
        if all(np.hypot(x - u, y - v) > radius + r for u, v, r in taken):
            return float(x), float(y)
    return None


def clutter_material(rng: Rng, patterns: tuple[str, ...]) -> Node:
    draw = rng.uniform()
    if draw < 0.1:
        return glass((1, 1, 1))
    if draw < 0.2:
        return {"type": "roughconductor", "material": "Al", "alpha": rng.uniform(0.1, 0.3)}
    if draw < 0.4:
        return painted(rng, patterns, 1)
    return ceramic(rgb(textures.to_linear(textures.any_colour(rng))), rng.uniform(), 0.15)


def box(rng: Rng, pose: Any, material: Node) -> list[Any]:
    half = rng.uniform(0.15, 0.35, 3)
    pose = pose.translate([0, 0, half[2]]).scale(half.tolist())
    return [{"type": "cube", "to_world": pose, "bsdf": material}]


def ball(rng: Rng, pose: Any, material: Node) -> list[Any]:
    radius = rng.uniform(0.2, 0.38)
    pose = pose.translate([0, 0, radius]).scale(radius)
    return [{"type": "sphere", "to_world": pose, "bsdf": material}]


def books(rng: Rng, pose: Any, material: Node) -> list[Any]:
    """A stack of one to four books, each in its own colour and a little askew."""
    stack, z = [], 0.0
    for _ in range(rng.integers(1, 5)):
        half = [rng.uniform(0.3, 0.42), rng.uniform(0.22, 0.32), rng.uniform(0.03, 0.08)]
        cover = ceramic(rgb(textures.to_linear(textures.any_colour(rng))), 0.7, 0.25)
        place = pose.translate([0, 0, z + half[2]]).rotate([0, 0, 1], rng.normal(0, 8))
        stack.append({"type": "cube", "to_world": place.scale(half), "bsdf": cover})
        z += 2 * half[2]
    return stack


def bottle(rng: Rng, pose: Any, material: Node) -> list[Any]:
    mesh = shapes.bottle(rng.uniform(1.1, 1.9), rng.uniform(0.18, 0.28))
    return [mesh_shape("bottle", posed(mesh, pose), material)]


def cone(rng: Rng, pose: Any, material: Node) -> list[Any]:
    mesh = shapes.cone(rng.uniform(0.5, 1.1), rng.uniform(0.2, 0.38))
    return [mesh_shape("cone", posed(mesh, pose), material)]


def saucer(rng: Rng, pose: Any, material: Node) -> list[Any]:
    return [mesh_shape("saucer", posed(shapes.plate(rng.uniform(0.4, 0.58)), pose), material)]


def pen(rng: Rng, pose: Any, material: Node) -> list[Any]:
    """A pen or a rod that lies on the table."""
    half, radius = rng.uniform(0.35, 0.6), rng.uniform(0.02, 0.05)
    rod = {"type": "cylinder", "p0": [-half, 0, radius], "p1": [half, 0, radius], "radius": radius}
    return [rod | {"to_world": pose, "bsdf": material}]


def spoon(rng: Rng, pose: Any, material: Node) -> list[Any]:
    """A metal spoon: a round, flat scoop and a long handle."""
    metal = {"type": "roughconductor", "material": "Al", "alpha": 0.12}
    length = rng.uniform(0.45, 0.65)
    scoop = posed(shapes.plate(0.14), pose.translate([-0.12, 0, 0.015]))
    stem = posed(shapes.spoon_handle(length), pose)
    return [mesh_shape("scoop", scoop, metal), mesh_shape("stem", stem, metal)]


def pyramid(rng: Rng, pose: Any, material: Node) -> list[Any]:
    """Three boxes on top of each other, each smaller than the one below."""
    steps, z, half = [], 0.0, rng.uniform(0.28, 0.38)
    for _ in range(3):
        place = pose.translate([0, 0, z + 0.12]).scale([half, half, 0.12])
        steps.append({"type": "cube", "to_world": place, "bsdf": material})
        z, half = z + 0.24, 0.65 * half
    return steps


CLUTTER = {
    "box": box,
    "ball": ball,
    "books": books,
    "bottle": bottle,
    "saucer": saucer,
    "pen": pen,
    "spoon": spoon,
    "cone": cone,
    "pyramid": pyramid,
}
