"""An int8-full artifact as C source, for firmware that has no file system."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeclf.artifact import Artifact
from edgeclf.errors import MissingDependencyError, OptionError
from edgeclf.system import files
from edgeclf.system.progress import log

_BYTES_A_LINE = 16


def measured_arena_bytes(artifact: Artifact) -> int | None:
    """What tflite-micro needs; None, and says so, where it is not installed."""
    from edgeclf.runtimes.tflite_micro import arena_bytes

    try:
        return arena_bytes(artifact)
    except MissingDependencyError as exc:
        log(f"  the arena was not measured: {exc}")
        return None


def write_c_source(artifact: Artifact) -> tuple[Path, Path]:
    """Writes the model as a C array beside the artifact: ``NAME.int8-full.h`` and ``.c``.

    The array holds the flatbuffer alone, without certificate and provenance, which stay in the
    artifact; its SHA-256 is named in the header.

    Args:
        artifact: An ``int8-full`` one that was written to a file.

    Returns:
        The paths of header and source.
    """
    metadata = artifact.metadata
    if artifact.path is None or metadata.precision != "int8-full":
        raise OptionError(
            f"Firmware takes int8-full artifacts in a file; received {metadata.precision}."
        )
    header, source = artifact.path.with_suffix(".h"), artifact.path.with_suffix(".c")
    symbol = re.sub(r"\W", "_", f"edgeclf_{metadata.name}")
    files.write_text(header, _header(artifact, symbol))
    content = artifact.model_content
    rows = [
        "  " + " ".join(f"0x{byte:02x}," for byte in content[start : start + _BYTES_A_LINE])
        for start in range(0, len(content), _BYTES_A_LINE)
    ]
    lines = [f'#include "{header.name}"', "", f"alignas(16) const unsigned char {symbol}[] = {{",
             *rows, "};", ""]  # fmt: skip
    files.write_text(source, "\n".join(["#include <stdalign.h>", *lines]))
    return header, source


def _header(artifact: Artifact, symbol: str) -> str:
    metadata, upper = artifact.metadata, symbol.upper()
    quantization: Any = metadata.quantization or {}
    arena = quantization.get("arena_bytes")
    labels = ", ".join(_c_string(label) for label in metadata.labels)
    constants = {
        "LENGTH": len(artifact.model_content),
        "HEIGHT": metadata.image.height,
        "WIDTH": metadata.image.width,
        "CLASSES": len(metadata.labels),
        **({"ARENA_BYTES": arena} if arena else {}),
    }
    defines = "\n".join(f"#define {upper}_{name} {value}" for name, value in constants.items())
    title = re.sub(r"[^\w .-]", "_", f"{metadata.name} {metadata.version}")
    return f"""\
/* {title}, written by edgeclf {version("edgeclf")}.
 * Artifact SHA-256: {artifact.sha256}
 * Input:  int8 [1][{upper}_HEIGHT][{upper}_WIDTH][3], RGB bytes minus 128.
 * Output: int8 [1][{upper}_CLASSES]; probability = (score + 128) / 256.
 * The arena was measured on a 64-bit host; a 32-bit target needs a little less.
 */
#ifndef {upper}_H
#define {upper}_H

{defines}

#ifdef __cplusplus
extern "C" {{
#endif
extern const unsigned char {symbol}[];
static const char *const {symbol}_labels[] = {{{labels}}};
#ifdef __cplusplus
}}
#endif

#endif
"""


def _c_string(text: str) -> str:
    """A C string literal; anything that is not plain ASCII as octal bytes."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{plain}"'
