"""`edgeclf explain`: where in a photo an answer came from."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeclf.errors import ImageError, OptionError
from edgeclf.system.arguments import add_runtime
from edgeclf.system.words import printable

if TYPE_CHECKING:
    from edgeclf.explanation.methods import Explanation, Method
    from edgeclf.image import ImageSource
    from edgeclf.inference.classifier import Classifier

_PASSES = 512


def explain(
    model: str | os.PathLike[str] | Classifier,
    image: ImageSource,
    label: str | None = None,
    *,
    method: Method | None = None,
    passes: int = _PASSES,
    seed: int = 0,
    runtime: str = "auto",
) -> Explanation:
    """Says where in a picture the answer came from.

    With the features and the dense layer that the file names, it is a class activation map, which
    takes one pass. With features alone it is Score-CAM over their channels, and without any RISE:
    these run the picture, partly hidden, many times. docs/explanations.md says what a map does not
    show.

    Args:
        model: A classifier, or the path of an artifact; for several pictures, keep a classifier.
        image: As for `Classifier.classify`, but no URL.
        label: The class to explain; None for the most probable one.
        method: ``cam``, ``score-cam`` or ``rise``; None for the best that the file has all for.
        passes: How many images may be run at most where one is not enough; at least 16.
        seed: Of RISE's masks.
        runtime: A runtime's name, or ``auto``, where `model` is a path.

    Raises:
        OptionError: The model has no such label, or lacks what the method needs.
        ImageError: The picture cannot be read.
        ArtifactError: The model is no artifact, or what it says of its features is wrong.
        RuntimeLoadError: The runtime cannot load the model, or cannot give its features.

    Examples:
        ```python
        with edgeclf.Classifier("mugs.int8.tflite") as classifier:
            explanation = edgeclf.explain(classifier, "photo.jpg")
        print(explanation.label, explanation.method, explanation.map.shape)
        explanation.overlay("photo.jpg").save("overlay.png")
        ```
    """
    from edgeclf.explanation.methods import explain_picture
    from edgeclf.inference.classifier import Classifier

    if isinstance(model, Classifier):
        return explain_picture(model, image, label, method=method, passes=passes, seed=seed)
    with Classifier(model, runtime=runtime) as classifier:
        return explain_picture(classifier, image, label, method=method, passes=passes, seed=seed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("model", help="an artifact: .tflite, .onnx or .keras")
    parser.add_argument("images", nargs="*", metavar="image", help="photos")
    parser.add_argument("--out", help="the picture to write, or the page of several photos "
                        "(default: explanation.png or explanation.html)")  # fmt: skip
    parser.add_argument("--label", help="class to explain (default: each photo's most probable)")
    parser.add_argument("--method", choices=("cam", "score-cam", "rise"),
                        help="default: the best that the file has all for")  # fmt: skip
    parser.add_argument("--passes", type=int, default=_PASSES, metavar="N", help="images to run at "
                        f"most where one is not enough (default: {_PASSES})")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of random masks (default: 0)")
    add_runtime(parser)
    parser.add_argument("--check", action="store_true", help="measure on the photos of --data how "
                        "far the maps can be believed")  # fmt: skip
    parser.add_argument("--data", metavar="DIR", help="photos in one folder a class, or a CSV")
    parser.add_argument("--masks", metavar="DIR", help="where the object is, white in a PNG of "
                        "each photo's name, for the pointing game")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the check as JSON, with curves")


def run(args: argparse.Namespace) -> int:
    """Runs the verb on parsed arguments; returns the exit code."""
    from edgeclf.inference.classifier import Classifier
    from edgeclf.system.files import check_out

    if args.check != (args.data is not None) or args.check == bool(args.images):
        raise OptionError("Give photos to explain, or --check with --data DIR and no photos.")
    if unfit := [name for name in ("out", "label") if args.check and getattr(args, name)]:
        raise OptionError(f"--{unfit[0]} belongs to photos to explain, and --check takes none.")
    if unfit := [name for name in ("masks", "json") if not args.check and getattr(args, name)]:
        raise OptionError(f"--{unfit[0]} belongs to --check, which was not given.")
    if args.check:
        with Classifier(args.model, runtime=args.runtime) as classifier:
            return _check(classifier, args)
    out = Path(args.out or f"explanation.{'png' if len(args.images) == 1 else 'html'}")
    check_out(out)
    page = out.suffix.lower() in (".html", ".htm")
    if not page and (out.suffix.lower() != ".png" or len(args.images) > 1):
        raise OptionError(
            f"--out is {out}; expected a .png for one photo, or a .html for any number of them."
        )
    with Classifier(args.model, runtime=args.runtime) as classifier:
        return _explain_all(classifier, args, out)


def _explain_all(classifier: Classifier, args: argparse.Namespace, out: Path) -> int:
    from edgeclf.explanation.overlay import caption, to_html
    from edgeclf.system.files import replacing, write_text
    from edgeclf.system.progress import log

    entries, failed = [], 0
    for image in args.images:
        try:
            found = explain(classifier, image, args.label, method=args.method,
                            passes=args.passes, seed=args.seed)  # fmt: skip
        except ImageError as exc:  # the other pictures still get theirs
            log(f"edgeclf: {exc}")
            failed = 2
            continue
        print(f"{printable(image)}: {caption(found)}")
        entries.append((image, image, found))
    if not entries:
        return failed
    if out.suffix.lower() == ".png":
        ((_, image, found),) = entries
        with replacing(out) as path:
            found.overlay(image).save(path, "PNG")
    else:
        write_text(out, to_html(f"{classifier.artifact.metadata.name}, explained", entries))
    print(out)
    return failed


def _check(classifier: Classifier, args: argparse.Namespace) -> int:
    from edgeclf.datasets.photos import find_photos
    from edgeclf.datasets.validation import check_contents
    from edgeclf.explanation.honesty import check

    photos = find_photos(args.data, classifier.labels, partial=True)
    check_contents(photos)
    record = check(
        classifier, photos, masks=args.masks, method=args.method, passes=args.passes, seed=args.seed
    )
    print(json.dumps(record) if args.json else _as_text(record))
    return 0


def _as_text(record: dict[str, Any]) -> str:
    """A line a figure."""

    def figure(found: dict[str, Any]) -> str:
        low, high = found["interval_95"]
        return f"{found['mean']:.3f} [{low:.3f} to {high:.3f}]"

    passes = "1 pass" if record["passes"] == 1 else f"{record['passes']} passes"
    lines = [
        f"{record['photos']} photos, {record['method']}, {passes} a map; means "
        "with 95 % intervals over photos"
    ]
    for name, better in (("deletion", "lower"), ("insertion", "higher")):
        areas = record[name]
        lines.append(f"{name}, area under the curve ({better} is better)")
        lines += [f"  {kind:<7} {figure(areas[kind])}" for kind in ("map", "random", "centre")]
        lines += [
            f"  map minus {kind:<7} {figure(areas[f'map_minus_{kind}'])}"
            for kind in ("random", "centre")
        ]
    if pointing := record["pointing"]:
        low, high = pointing["interval_95"]
        lines.append(
            f"pointing game: {pointing['share']:.1%} [{low:.1%} to {high:.1%}] of the peaks are on "
            f"the object; a random place {pointing['random']:.1%}, the centre "
            f"{pointing['centre']:.1%}"
        )
    for name, found in record["randomisation"].items():
        words = found if isinstance(found, str) else f"correlation {figure(found)}"
        lines.append(f"map after shuffling {name}: {words}")
    return "\n".join(lines)


if __name__ == "__main__":
    from edgeclf.cli import main

    raise SystemExit(main(["explain", *sys.argv[1:]]))
