"""A web app of three models of your choice: on the server, in the browser, and both compared.

python examples/web_app/web_app.py                       # the three EfficientNet-Lites, offline
python examples/web_app/web_app.py lite0 resnet50 birds.int8.tflite --download
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import edgeclf
from edgeclf.artifact import load_artifact
from edgeclf.networks.pretrained import find_pretrained, locate
from edgeclf.service.config import ServiceConfig
from edgeclf.service.loading import named
from edgeclf.system import files
from edgeclf.system.progress import log

LITES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
ENDINGS = (".tflite", ".onnx", ".keras")
MUGS = Path(__file__).resolve().parents[1] / "mugs" / "eval"
# Photos that packages of the extra `zoo` bring, and drawn mugs, which no network has seen.
PHOTOS = {
    "skimage": ("data/coffee.png", "data/chelsea.png", "data/camera.png", "data/rocket.jpg",
                "data/motorcycle_left.png", "data/astronaut.png"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}  # fmt: skip
DRAWN = ("white/000.jpg", "black/002.jpg", "blue/003.jpg", "transparent/001.jpg")


@dataclass(frozen=True)
class Choice:
    """A model to serve.

    Attributes:
        source: Its file, as ``FILE`` or ``NAME=FILE``.
        network: What the zoo calls it; None where the file was given.
        precision: What is made of that.
    """

    source: str
    network: str | None = None
    precision: str = ""

    @property
    def path(self) -> Path:
        """Of its file, which may have to be made."""
        return Path(named(self.source)[0])


def choose(words: list[str], precisions: list[str], out: Path, *, download: bool) -> list[Choice]:
    """What was asked for; refuses what is neither in the zoo nor a file before anything is made.

    Raises:
        OptionError: There is no such network, or its weights are not here.
        ArtifactError: A file is no artifact.
    """
    chosen = []
    for word in words:
        if word.endswith(ENDINGS):
            chosen.append(Choice(word))
            load_artifact(chosen[-1].path)
            continue
        model = find_pretrained(word)
        locate(model, download=download)
        for each in precisions:
            name = f"{model.name}.{each}"
            chosen.append(Choice(f"{name}={out / name}.tflite", model.name, each))
    return chosen


def make(choice: Choice, out: Path, *, download: bool) -> None:
    """Converts a network in a process of its own, whose gigabytes end with it.

    Raises:
        SystemExit: It could not be made; what was finished stays, and the next run goes on there.
    """
    command = [sys.executable, "-m", "edgeclf", "zoo", str(choice.network), "--out", str(out),
               "--formats", "tflite", "--precisions", choice.precision]  # fmt: skip
    done = subprocess.run([*command, *["--download"] * download], stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(done.returncode)


def collect(folder: Path) -> Path:
    """Copies sample pictures out of installed packages and the checkout, those that are there."""
    sources = [MUGS / name for name in DRAWN]
    for package, names in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            sources += [Path(spec.origin).parent / name for name in names]
    for source in filter(Path.is_file, sources):
        own = f"mug {source.parent.name}.jpg" if source.is_relative_to(MUGS) else source.name
        if not (folder / own).is_file():
            files.write_bytes(folder / own, source.read_bytes())
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=LITES, metavar="NAME|FILE",
                        help="networks of 'edgeclf zoo', or artifacts "
                        f"(default: {' '.join(LITES)})")  # fmt: skip
    parser.add_argument("--out", default="runs/web_app", metavar="DIR",
                        help="what is made goes there (default: runs/web_app)")  # fmt: skip
    parser.add_argument("--precisions", nargs="+", default=["int8"], metavar="PRECISION",
                        help="of networks: int8, dynamic, fp16, fp32 (default: int8)")  # fmt: skip
    parser.add_argument("--download", action="store_true",
                        help="let Keras fetch weights that are not here")  # fmt: skip
    parser.add_argument("--samples", metavar="DIR",
                        help="pictures that the page offers (default: some that are here)"
                        )  # fmt: skip
    parser.add_argument("--port", type=int, default=8080, help="0 for any free one (default: 8080)")
    args = parser.parse_args()
    try:
        out = files.out_folder(args.out)
        chosen = choose(list(args.models), args.precisions, out, download=args.download)
        missing = [each for each in chosen if each.network and not each.path.is_file()]
        for number, each in enumerate(missing, 1):
            log(f"web_app: {number} of {len(missing)}, {each.path.name}; a minute or more, once")
            make(each, out, download=args.download)
        samples = args.samples or str(collect(files.out_folder(out / "samples")))
        config = ServiceConfig(port=args.port, gallery=samples)
        edgeclf.ui([each.source for each in chosen], config=config)
    except edgeclf.EdgeclfError as exc:
        print(f"web_app.py: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
