"""Gets the browser's engines from the npm registry into edgeclf/web/static/engines.

    python tools/fetch_web.py            does nothing where they are there already
    python tools/fetch_web.py --check    exit code 1 if they are not

Which packages, which of their files and which SHA-512 is said in web/engines.json; where the
registry is, in npm's own configuration, as npm does the fetching. Each engine gets a folder named
by the hash of what is in it, so that a browser may keep it for ever; beside each file lies its
brotli, and the licences that the packages do not bring.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "web" / "engines.json"
ENGINES = ROOT / "edgeclf" / "web" / "static" / "engines"
LIST = "engines.json"
_CHANGED = "// Changed by edgeclf: {0} became {1}.\n"
# Quality 9: 11 takes ten times as long and saves another 5 %.
_BROTLI = """
const { brotliCompressSync, constants } = require("node:zlib");
const { readFileSync, writeFileSync } = require("node:fs");
for (const path of process.argv.slice(1)) {
  const bytes = readFileSync(path);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 22,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  writeFileSync(path + ".br", brotliCompressSync(bytes, { params }));
}
"""


def main() -> int:
    if is_complete():
        print(f"the browser's engines are in {ENGINES.relative_to(ROOT)}")
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{ENGINES.relative_to(ROOT)} lacks what {LOCK.relative_to(ROOT)} names; run: "
              "python tools/fetch_web.py")  # fmt: skip
        return 1
    for program in ("npm", "node"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is needed and is not here; Debian: apt install nodejs npm")
    with tempfile.TemporaryDirectory(dir=ENGINES.parent) as folder:
        made = Path(folder) / "engines"
        fetch(made, Path(folder))
        shutil.rmtree(ENGINES, ignore_errors=True)
        made.rename(ENGINES)
    size = sum(path.stat().st_size for path in ENGINES.rglob("*.br"))
    print(f"{ENGINES.relative_to(ROOT)}: {size / 1e6:.1f} MB as a browser fetches them")
    return 0


def is_complete() -> bool:
    """Whether the engines that the lock file names are there."""
    try:
        return bool(json.loads((ENGINES / LIST).read_text())["lock"] == lock_hash())
    except (OSError, ValueError, KeyError):
        return False


def lock_hash() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def fetch(made: Path, scratch: Path) -> None:
    """Makes the folder of engines, whole."""
    listed: dict[str, Any] = {"lock": lock_hash()}
    for name, engine in json.loads(LOCK.read_text()).items():
        folder = made / name
        folder.mkdir(parents=True)
        for package, entry in engine["packages"].items():
            take(packed(package, entry["integrity"], scratch), entry["files"], folder)
        for file, (before, after) in engine.get("changes", {}).items():
            change(folder / file, before, after)
        subprocess.run(["node", "-e", _BROTLI, *map(str, sorted(folder.iterdir()))], check=True)
        for licence in engine["licenses"]:
            shutil.copy(ROOT / "web" / licence, folder / text_name(licence))
        final = folder.with_name(f"{name}-{hash_of(folder)}")
        folder.rename(final)
        listed[name] = {"folder": final.name, "version": engine["version"]}
    (made / LIST).write_text(json.dumps(listed, indent=1))


def text_name(licence: str) -> str:
    name = Path(licence).name
    return name if "." in name else f"{name}.txt"


def packed(package: str, integrity: str, scratch: Path) -> Path:
    """A package's tarball, whose SHA-512 is as it should be."""
    done = subprocess.run(
        ["npm", "pack", package, "--json", "--pack-destination", str(scratch)],
        cwd=scratch, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"npm could not get {package}; see what it says above.")
    path = scratch / json.loads(done.stdout)[0]["filename"].replace("@", "").replace("/", "-")
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != integrity:
        raise SystemExit(f"{package} is sha512-{digest}; {LOCK.name} expects {integrity}.")
    return path


def take(tarball: Path, files: dict[str, str], folder: Path) -> None:
    """Copies the named files, and no other."""
    with tarfile.open(tarball) as archive:
        for inside, name in files.items():
            member = archive.extractfile(f"package/{inside}")
            if member is None:
                raise SystemExit(f"{tarball.name} holds no file {inside}")
            (folder / name).write_bytes(member.read())


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    if text.count(before) != 1:
        raise SystemExit(f"{path.name} holds {before!r} {text.count(before)} times; expected once")
    path.write_text(_CHANGED.format(before, after) + text.replace(before, after))


def hash_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix != ".br":  # which another version of node may pack otherwise
            digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    raise SystemExit(main())
