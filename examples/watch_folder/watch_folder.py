"""Classifies photos as they arrive in a folder, and keeps the answers in a CSV file.

A photo is read once it has stayed as it is for one interval, so half-written uploads are left
alone. Ctrl-C or SIGTERM ends the script between two photos.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import shutil
import signal
import stat
import sys
from contextlib import closing, suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import NamedTuple

import edgeclf
from edgeclf.datasets.folders import is_photo
from edgeclf.system.progress import print_every_letter
from edgeclf.system.words import csv_cell

COLUMNS = ["time", "file", "size_bytes", "mtime_ns", "label", "probability", "error"]
STOP = {signal.SIGINT, signal.SIGTERM}


class Key(NamedTuple):
    """What tells a photo from every other; the same key is never classified twice.

    The name is written as no spreadsheet takes it for a formula: anybody may upload ``=1+1.jpg``.
    """

    file: str
    size_bytes: int
    mtime_ns: int


def key_of(path: Path) -> Key | None:
    """The photo's key; None if it is none, or is gone."""
    if not is_photo(path.name):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Key(csv_cell(path.name), status.st_size, status.st_mtime_ns)


def look(folder: Path) -> dict[Path, Key]:
    """The photos that are in a folder now, oldest first."""
    keys = {path: key for path in folder.iterdir() if (key := key_of(path)) is not None}
    return dict(sorted(keys.items(), key=lambda item: (item[1].mtime_ns, item[0])))


class Results:
    """The CSV file, open for more rows; `labels` has what was classified before."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        header = (",".join(COLUMNS) + "\n").encode()
        if not content.startswith(header[: len(content)]):
            raise edgeclf.OptionError(f"{path} was not written by this script. Name another file.")
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # its last row was cut off by a power failure
            os.truncate(path, len(whole))
        rows = csv.DictReader(io.StringIO(whole.decode("utf-8", "surrogateescape"), newline=""))
        try:
            self.labels = {
                Key(row["file"], int(row["size_bytes"]), int(row["mtime_ns"])): row["label"]
                for row in rows
            }
        except (ValueError, TypeError, csv.Error) as exc:
            raise edgeclf.OptionError(f"{path}, line {rows.line_num}: {exc}. Repair it.") from exc
        self._file = open(  # noqa: SIM115 - kept until `close`
            path, "a", newline="", encoding="utf-8", errors="surrogateescape"
        )
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        if not whole:
            self._writer.writeheader()
            self._file.flush()

    def add(self, key: Key, label: str = "", probability: str = "", error: str = "") -> None:
        label = csv_cell(label)
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._writer.writerow({"time": time, **key._asdict(), "label": label,
                               "probability": probability, "error": error})  # fmt: skip
        self._file.flush()
        self.labels[key] = label

    def close(self) -> None:
        self._file.close()


def classify(classifier: edgeclf.Classifier, path: Path, key: Key, results: Results) -> None:
    """Classifies one photo and writes the answer down, or why there is none."""
    try:
        prediction = classifier.classify(path)
    except edgeclf.ImageError as exc:
        answer = {"error": " ".join(str(exc).split())}
    else:
        answer = {"label": prediction.label, "probability": f"{prediction.probability:.4f}"}
    if key_of(path) != key:  # it changed while it was read, or is gone: not an answer to keep
        return
    results.add(key, **answer)
    print(f"{path.name}: {', '.join(answer.values())}", flush=True)


def folder_name(label: str) -> str:
    """A label as the name of one folder: no separators, no hidden or special names."""
    return re.sub(r"[^\w .+()-]", "_", label)[:60].strip(" .") or "_"


def move(path: Path, folder: Path) -> None:
    """Moves a file to a name that is free in a folder, never over another file."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in count():
        target = folder / (f"{path.stem}-{number}{path.suffix}" if number else path.name)
        try:
            target.touch(exist_ok=False)  # makes the name ours
        except FileExistsError:
            continue
        try:
            shutil.move(path, target)
        except OSError:
            target.unlink()
            raise
        return


def watch(args: argparse.Namespace) -> None:
    if not args.folder.is_dir():
        raise edgeclf.OptionError(f"There is no folder {args.folder}.")
    with edgeclf.Classifier(args.model) as classifier, closing(Results(args.results)) as results:
        before = look(args.folder)
        while signal.sigtimedwait(STOP, args.interval) is None:
            now = look(args.folder)
            for path, key in now.items():
                if signal.sigpending() & STOP:
                    break
                if key not in results.labels and before.get(path) == key:
                    classify(classifier, path, key, results)
                if args.move_to is not None and (label := results.labels.get(key)):
                    with suppress(FileNotFoundError):  # somebody else took it
                        move(path, args.move_to / folder_name(label))
            if args.once:
                break
            before = now


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an artifact: .tflite, .onnx or .keras")
    parser.add_argument("folder", type=Path, help="where photos arrive")
    parser.add_argument("--results", type=Path, default=Path("results.csv"), metavar="CSV",
                        help="default: results.csv")  # fmt: skip
    parser.add_argument("--move-to", type=Path, metavar="DIR",
                        help="move each photo to DIR/LABEL once it is classified")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="classify what is there, then end")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S",
                        help="seconds between two looks (default: 1)")  # fmt: skip
    args = parser.parse_args()
    if args.interval <= 0:
        parser.error("--interval is greater than 0")
    # Held back, and asked for between two photos: no answer is cut off while it is written. This
    # comes before the engine starts threads, which inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    print_every_letter()  # file names are not always UTF-8
    try:
        watch(args)
    except (edgeclf.EdgeclfError, OSError) as exc:
        print(f"watch_folder.py: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
