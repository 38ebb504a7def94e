"""The page's modules by node: held to what Python answers, and their types checked."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from edgeclf.image.decoding import _orientation
from edgeclf.service.page_files import STATIC, PageFiles
from support import REPOSITORY, page_references, pictures

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node: apt install nodejs")
TSC = REPOSITORY / "web" / "node_modules" / "typescript" / "bin" / "tsc"
# What a browser is asked to decode, by Pillow's names.
BROWSERS = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP", "GIF": "GIF",
            "BMP": "BMP", "AVIF": "AVIF"}  # fmt: skip


def run_node(*words: object, env: dict[str, str] | None = None) -> str:
    assert NODE is not None
    done = subprocess.run(
        [NODE, *map(str, words)], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@needs_node
def test_the_modules_answer_as_python_does(tmp_path: Path) -> None:
    page_references.write(tmp_path)
    write_pictures(tmp_path)
    files = sorted((REPOSITORY / "tests" / "web").glob("*.test.mjs"))
    said = run_node("--test", *files, env={"EDGECLF_REFERENCES": str(tmp_path)})
    assert "fail 0" in said and "skipped 0" in said


@needs_node
def test_modules_are_sent_without_comments_and_with_all_of_their_code(tmp_path: Path) -> None:
    files = PageFiles()
    own = [each for each in files._files if each.endswith(".js") and "/engines/" not in each]
    sent = [file for each in own if (file := files.get(each))]
    assert len(sent) > 30
    for index, file in enumerate(sent):
        assert b"@param" not in file.content and file.content.count(b"\n") > 3
        (tmp_path / f"{index}.mjs").write_bytes(file.content)
    # What is in a line with code stays: without it the line would be no code any more.
    (tmp_path / "own.js").write_text(
        "/** @type {number} */\n// a line\nlet a = 1; // one\n"
        "/** @type {number} */ (a);\n/** b */\n"
    )
    (tmp_path / "index.html").write_text("{{ui}}")
    small = PageFiles(tmp_path)
    (address,) = (each for each in small._files if each.endswith("own.js"))
    found = small.get(address)
    assert found is not None
    assert found.content == b"let a = 1; // one\n/** @type {number} */ (a);\n"
    syntax = (
        "import('node:vm').then(({ SourceTextModule: M }) => process.argv.slice(1).forEach((f) =>"
    )
    syntax += " new M(require('node:fs').readFileSync(f, 'utf8'))))"
    run_node("--experimental-vm-modules", "-e", syntax, *tmp_path.glob("*.mjs"))


def write_pictures(folder: Path) -> None:
    """Files of every kind, with what Pillow finds in their heads."""
    known, refused = [], []
    for index, (name, made) in enumerate(pictures.pictures().items()):
        file = f"picture.{index}"
        (folder / file).write_bytes(made.content)
        try:
            image = Image.open(io.BytesIO(made.content))
        except UnidentifiedImageError:  # HEIC, where nobody asked for its decoder before
            image = Image.new("L", (1, 1))
        if image.format not in BROWSERS:
            refused.append({"file": file, "name": name, "code": "browser_cannot_decode"})
        elif image.format != "AVIF":  # whose own boxes turn it, which browsers follow
            known.append({"file": file, "name": name, "format": BROWSERS[image.format],
                          "width": image.width, "height": image.height,
                          "orientation": _orientation(image)})  # fmt: skip
    (folder / "no.picture").write_bytes(b"a text")
    refused.append({"file": "no.picture", "name": "a text", "code": "no_picture"})
    assert len(known) > 60 and len(refused) > 20
    (folder / "pictures.json").write_text(json.dumps(known))
    (folder / "refused.json").write_text(json.dumps(refused))


@needs_node
@pytest.mark.skipif(not TSC.is_file(), reason="needs TypeScript: make test-web")
def test_the_types_of_the_page_hold() -> None:
    run_node(TSC, "-p", REPOSITORY / "web")


def test_the_page_names_nothing_from_elsewhere_and_has_no_inline_script() -> None:
    for path in STATIC.rglob("*"):
        if not path.is_file() or "engines" in path.relative_to(STATIC).parts:
            continue
        text = path.read_text()
        outside = [word for word in ("http:", "https:", '"//', "'//", "(//") if word in text]
        assert outside == [] or path.suffix == ".svg", f"{path.name} names an address"
        assert "innerHTML" not in text and "eval(" not in text, path.name
    index = (STATIC / "index.html").read_text()
    assert index.count("<script") == index.count('<script type="module" src=') == 1
    assert "style=" not in index and "<style" not in index and " onclick" not in index
