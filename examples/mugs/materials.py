"""What scenes are written in: Mitsuba's materials, transforms and meshes."""

from typing import Any

import mitsuba as mi
import numpy as np
import shapes
import textures

mi.set_variant("scalar_rgb")

Array = np.ndarray
Rng = np.random.Generator
Node = dict[str, Any]


def ceramic(colour: Node, finish: float, alpha: float) -> Node:
    """Glossy, satin or matt, by the draw `finish` in 0..1."""
    if finish < 0.45:
        return {"type": "plastic", "diffuse_reflectance": colour, "nonlinear": False}
    if finish < 0.88:
        return {"type": "roughplastic", "diffuse_reflectance": colour, "alpha": alpha}
    return {"type": "diffuse", "reflectance": colour}


def glass(tint: tuple[float, float, float]) -> Node:
    return {"type": "dielectric", "int_ior": 1.5, "specular_transmittance": rgb(tint)}


def transform() -> Any:
    return mi.ScalarTransform4f()


def rgb(values: Any) -> Node:
    return {"type": "rgb", "value": [float(v) for v in values]}


def bitmap(image: Array, wrap: str, repeat: float = 1.0) -> Node:
    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(image),
        "wrap_mode": wrap,
        "to_uv": transform().scale([repeat, repeat, 1]),
    }


def painted(rng: Rng, patterns: tuple[str, ...], repeat: float) -> Node:
    """A surface with a random pattern, matt or with a dull shine."""
    colour = bitmap(textures.texture(rng, patterns), "mirror", repeat)
    return ceramic(colour, rng.choice([0.7, 0.95], p=[0.15, 0.85]), 0.3)


def rectangle(pose: Any, material: Node) -> Node:
    return {
        "type": "rectangle",
        "to_world": pose,
        "bsdf": {"type": "twosided", "material": material},
    }


def turned(mesh: shapes.Mesh, degrees: float) -> shapes.Mesh:
    return posed(mesh, transform().rotate([0, 0, 1], degrees))


def posed(mesh: shapes.Mesh, pose: Any) -> shapes.Mesh:
    """Move a mesh by a transform of rotations, translations and one uniform scale."""
    matrix = np.array(pose.matrix)
    vertices = mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    normals = mesh.normals @ matrix[:3, :3].T
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return shapes.Mesh(vertices, normals, mesh.uvs, mesh.faces)


def mesh_shape(name: str, mesh: shapes.Mesh, material: Node) -> Any:
    """Hand a mesh over to Mitsuba."""
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(material)
    shape = mi.Mesh(
        name,
        len(mesh.vertices),
        len(mesh.faces),
        has_vertex_normals=True,
        has_vertex_texcoords=True,
        props=properties,
    )
    parameters = mi.traverse(shape)
    parameters["vertex_positions"] = mesh.vertices.astype(np.float32).ravel()
    parameters["vertex_normals"] = mesh.normals.astype(np.float32).ravel()
    parameters["vertex_texcoords"] = mesh.uvs.astype(np.float32).ravel()
    parameters["faces"] = mesh.faces.astype(np.uint32).ravel()
    parameters.update()
    return shape
