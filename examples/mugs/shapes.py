"""Triangle meshes made with numpy: mugs, their handles and drinks, and bodies of revolution.

Lengths are in mug heights: an average mug is 1 high and stands on the plane z = 0.
"""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Rng = np.random.Generator

FAMILIES = ("straight", "tapered", "conical", "bulbous", "espresso", "tall")
EVAL_FAMILIES = ("bowl", "waisted", "ribbed")
HANDLES = ("round", "square", "ear")
EVAL_HANDLES = ("loop",)


@dataclass(frozen=True)
class Mesh:
    """Vertices and normals [N, 3], texture coordinates [N, 2], faces [M, 3]."""

    vertices: Array
    normals: Array
    uvs: Array
    faces: Array


@dataclass(frozen=True)
class MugShape:
    """A mug: its outer radius from foot to rim, and how its wall and handle are made."""

    height: float
    wall: float
    radii: Array
    handle: str
    reach: float
    grip: tuple[float, float]
    flutes: int = 0

    def radius(self, z: float) -> float:
        """Outer radius at height z."""
        return float(np.interp(z, np.linspace(0, self.height, len(self.radii)), self.radii))

    @property
    def max_radius(self) -> float:
        return float(self.radii.max())

    def body(self) -> Mesh:
        """The closed solid: foot, outer wall, rounded lip, inner wall and floor."""
        r, t = self.radii, self.wall
        z = np.linspace(0, self.height - t / 2, len(r))
        outer = np.column_stack([r, z])
        inner = np.column_stack([r - t, z])[::-1]
        inner = inner[inner[:, 1] > 1.2 * t]
        hollow, foot = 0.4 * t, r[0] - 0.2 * t
        foot = np.array([[0, hollow], [foot - 1.2 * t, hollow], [foot - 0.8 * t, 0], [foot, 0]])
        lip = np.array([[r[-1] - 0.2 * t, self.height], [r[-1] - 0.8 * t, self.height]])
        floor = np.array([[self._inner_radius(t) * 0.97, 1.1 * t], [0, 1.1 * t]])
        outline = np.concatenate([foot, outer[1:], lip, inner, floor])
        return revolve(smooth(outline, 2), flutes=self.flutes)

    def grip_tube(self) -> Mesh:
        """The handle, its two ends sunk half a wall deep into the body."""
        low, high = self.grip
        z = low * self.height, high * self.height
        start = np.array([self.radius(z[1]) - self.wall / 2, z[1]])
        end = np.array([self.radius(z[0]) - self.wall / 2, z[0]])
        across = max(self.radius(z[0]), self.radius(z[1])) + self.reach
        path = smooth(handle_path(self.handle, start, end, across), 4)
        thick = 0.045 + 0.3 * self.wall
        return sweep(path, thick, thick * 1.35)

    def drink(self, level: float) -> Mesh:
        """The drink up to a share `level` of the height, a hair away from the inner wall."""
        gap, top = 0.012, level * self.height
        z = np.linspace(1.1 * self.wall + gap, top, 16)
        r = np.array([self._inner_radius(v) - gap for v in z])
        sides = np.column_stack([r, z])
        outline = np.concatenate([[[0, z[0]]], sides, [[r[-1] * 0.995, top], [0, top]]])
        return revolve(outline)

    def _inner_radius(self, z: float) -> float:
        return self.radius(z) * (1 - flute_depth(self.flutes)) - self.wall


def random_mug(rng: Rng, families: tuple[str, ...], handles: tuple[str, ...]) -> MugShape:
    """Draw a mug whose profile and handle come from the given families."""
    family = str(rng.choice(families))
    height = {"espresso": 0.75, "tall": 1.25, "bowl": 0.8}.get(family, 1.0)
    height *= rng.uniform(0.92, 1.08)
    slender = {"espresso": 0.48, "tall": 0.33, "bowl": 0.66}.get(family, 0.43)
    radius = slender * rng.uniform(0.9, 1.12)
    return MugShape(
        height=height,
        wall=rng.uniform(0.045, 0.075),
        radii=radius * family_curve(rng, family),
        handle=str(rng.choice(handles)),
        reach=rng.uniform(0.24, 0.38) * min(height, 1.05),
        grip=(rng.uniform(0.16, 0.36), rng.uniform(0.7, 0.86)),
        flutes=int(rng.integers(9, 19)) if family == "ribbed" else 0,
    )


def family_curve(rng: Rng, family: str, points: int = 28) -> Array:
    """Outer radius from foot (first) to rim (last), about 1 at its widest."""
    u = np.linspace(0, 1, points)
    match family:
        case "tapered" | "espresso":
            return 1 - rng.uniform(0.15, 0.35) * (1 - u) ** rng.uniform(1, 2.2)
        case "conical":
            return 1 - rng.uniform(0.08, 0.24) * u
        case "bulbous":
            swell = rng.uniform(0.15, 0.3)
            return 1 - swell + swell * np.sin(np.pi * (0.12 + rng.uniform(0.62, 0.76) * u))
        case "bowl":
            return 1 - rng.uniform(0.42, 0.55) * (1 - u) ** rng.uniform(1.8, 2.6)
        case "waisted":
            return 1 - rng.uniform(0.1, 0.2) * np.sin(np.pi * u)
        case _:
            return 1 - rng.uniform(0, 0.05) * (1 - u)


def handle_path(kind: str, start: Array, end: Array, across: float) -> Array:
    """Control points (x, z) of a handle from its upper to its lower joint."""
    drop = start[1] - end[1]
    match kind:
        case "square":
            middle = [[across, start[1] + 0.02], [across, end[1] - 0.02]]
        case "ear":
            middle = [
                [across * 0.86, start[1] + 0.22 * drop],
                [across * 1.1, start[1] - 0.1 * drop],
                [across * 0.95, end[1] + 0.35 * drop],
            ]
        case "loop":
            reach = across - start[0]
            middle = [
                [start[0] + 0.55 * reach, start[1] + 0.3 * drop],
                [across * 1.12, start[1] + 0.3 * drop],
                [across * 1.12, end[1] - 0.3 * drop],
                [end[0] + 0.55 * reach, end[1] - 0.3 * drop],
            ]
        case _:
            middle = [
                [across * 0.95, start[1] + 0.1 * drop],
                [across * 1.08, (start[1] + end[1]) / 2],
                [across * 0.95, end[1] - 0.1 * drop],
            ]
    return np.array([start, *middle, end])


def bottle(height: float, radius: float) -> Mesh:
    """A bottle: straight body, shoulders and a neck."""
    r, h = radius, height
    outline = [[0, 0], [r, 0], [r, 0.08 * h], [r, 0.55 * h], [0.9 * r, 0.66 * h]]
    outline += [[0.36 * r, 0.78 * h], [0.33 * r, 0.97 * h], [0.33 * r, h], [0, h]]
    return revolve(smooth(np.array(outline), 3))


def cone(height: float, radius: float) -> Mesh:
    outline = [[0, 0], [radius, 0], [radius, 0.01], [0.02, height], [0, height]]
    return revolve(np.array(outline))


def plate(radius: float) -> Mesh:
    """A flat plate or saucer."""
    outline = np.array([[0, 0], [0.6, 0], [1, 0.13], [1, 0.16], [0.6, 0.04], [0, 0.04]])
    return revolve(smooth(radius * outline, 2))


def spoon_handle(length: float) -> Mesh:
    """A spoon's handle, lying along x."""
    path = np.array([[0, 0.03], [0.4 * length, 0.07], [0.8 * length, 0.05], [length, 0.03]])
    return sweep(smooth(path, 3), 0.018, 0.045)


def smooth(points: Array, rounds: int) -> Array:
    """Chaikin's corner cutting: rounds an open polyline and keeps its end points."""
    for _ in range(rounds):
        first, second = points[:-1], points[1:]
        cut = np.stack([0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second], axis=1)
        points = np.concatenate([points[:1], cut.reshape(-1, points.shape[1]), points[-1:]])
    return points


def flute_depth(flutes: int) -> float:
    """Depth of the grooves of a fluted body, as a share of its radius."""
    return 0.3 / flutes if flutes else 0.0


def revolve(outline: Array, segments: int = 72, flutes: int = 0) -> Mesh:
    """Turn an outline of (radius, z) about the z axis.

    An outline that runs up the outside and down the inside gets normals that point outwards.
    """
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    groove = 1 - flute_depth(flutes) * (0.5 - 0.5 * np.cos(flutes * angle))
    radius = outline[:, :1] * groove
    z = np.repeat(outline[:, 1:], segments + 1, axis=1)
    grid = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=-1)
    steps = np.linalg.norm(np.diff(outline, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)]) / steps.sum()
    uvs = np.stack(np.broadcast_arrays(angle / (2 * np.pi), along[:, None]), axis=-1)
    return grid_mesh(grid, uvs)


def sweep(path: Array, thick: float, wide: float, segments: int = 20) -> Mesh:
    """Sweep an ellipse along a path of (x, z) in the plane y = 0 and close both ends."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.column_stack([tangent[:, 1], -tangent[:, 0]])
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    offset = thick * np.cos(angle)[None, :, None] * normal[:, None, :]
    rim = path[:, None, :] + offset
    y = np.broadcast_to(wide * np.sin(angle), rim.shape[:2])
    grid = np.stack([rim[..., 0], y, rim[..., 1]], axis=-1)
    ends = np.stack([np.insert(path[i], 1, 0.0) for i in (0, -1)])
    caps = np.broadcast_to(ends[:, None, :], (2, segments + 1, 3))
    grid = np.concatenate([caps[:1], grid, caps[1:]])
    return grid_mesh(grid, np.zeros((*grid.shape[:2], 2)))


def grid_mesh(grid: Array, uvs: Array) -> Mesh:
    """Triangulate a grid [rows, columns, 3] whose first and last columns coincide."""
    rows, columns = grid.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces = np.concatenate([np.column_stack([a, b, d]), np.column_stack([a, d, c])])
    vertices = grid.reshape(-1, 3)
    normals = vertex_normals(vertices, faces).reshape(rows, columns, 3)
    seam = normals[:, 0] + normals[:, -1]
    normals[:, 0] = normals[:, -1] = seam
    normals[[0, -1]] = normals[[0, -1]].sum(axis=1, keepdims=True)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = normals / np.maximum(length, 1e-12)
    return Mesh(vertices, normals.reshape(-1, 3), uvs.reshape(-1, 2), faces)


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Sum of the adjacent faces' normals, weighted by area; not of unit length."""
    corners = vertices[faces]
    weighted = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], weighted)
    return normals
