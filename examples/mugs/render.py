"""Render photos of white, black, blue and transparent mugs with Mitsuba 3.

Each photo has its own seed, so a set is reproducible and a photo can be rendered on its own.
Photos that exist are kept, so an interrupted run goes on where it stopped.
"""

import argparse
import importlib.util
import io
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

CLASSES = ("white", "black", "blue", "transparent")
SPLITS = ("train", "eval")
GLASS_SAMPLES = 1.5
"""Glass needs more samples for the same noise."""


@dataclass(frozen=True)
class Job:
    """One photo to render."""

    split: str
    label: str
    index: int

    @property
    def name(self) -> str:
        return f"{self.split}/{self.label}/{self.index:03d}"

    def seed(self, base: int) -> list[int]:
        return [base, SPLITS.index(self.split), CLASSES.index(self.label), self.index]


def main() -> int:
    args = parse_args()
    if args.contact_sheet:
        return contact_sheet(args.out, args.contact_sheet)
    if importlib.util.find_spec("mitsuba") is None:
        print("render.py needs Mitsuba 3: pip install mitsuba", file=sys.stderr)
        return 2
    jobs = [job for job in all_jobs(args) if args.only in (None, job.name)]
    if not jobs:
        print(f"no photo is called {args.only!r}; try train/white/000", file=sys.stderr)
        return 2
    if not args.force:
        jobs = [job for job in jobs if not is_done(job, args)]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "labels.txt").write_text("".join(f"{label}\n" for label in CLASSES))
    try:
        show_progress(render_all(jobs, args), len(jobs))
    except KeyboardInterrupt:
        print("\nstopped; run again to go on", file=sys.stderr)
        return 130
    return 0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here, help="folder of the set")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other photos")
    parser.add_argument("--train", type=int, default=160, help="training photos a class")
    parser.add_argument("--eval", type=int, default=60, help="evaluation photos a class")
    parser.add_argument("--spp", type=int, default=16, help="samples per pixel")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="write where the mugs are, too")
    parser.add_argument("--only", metavar="NAME", help="one photo, such as train/white/000")
    parser.add_argument("--force", action="store_true", help="render photos that exist, too")
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="FILE", help="write an overview of the set, and stop"
    )
    return parser.parse_args()


def all_jobs(args: argparse.Namespace) -> list[Job]:
    """Every photo of the set, the classes taking turns."""
    counts = {"train": args.train, "eval": args.eval}
    return [
        Job(split, label, index)
        for split in SPLITS
        for index in range(counts[split])
        for label in CLASSES
    ]


def photo_path(out: Path, job: Job) -> Path:
    return out / f"{job.name}.jpg"


def is_done(job: Job, args: argparse.Namespace) -> bool:
    mask = args.masks is None or (args.masks / f"{job.name}.png").exists()
    return mask and photo_path(args.out, job).exists()


def render_all(jobs: list[Job], args: argparse.Namespace) -> Iterator[Job]:
    """Render in several processes; yield each job when its photo is on disk."""
    context = get_context("spawn")
    pool = ProcessPoolExecutor(args.jobs, mp_context=context, initializer=start_worker)
    try:
        futures = [pool.submit(render_photo, job, args) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """One thread a process, no log lines in the progress display; Ctrl-C is the parent's."""
    import drjit
    import mitsuba

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    drjit.set_thread_count(1)
    mitsuba.set_log_level(mitsuba.LogLevel.Error)


def render_photo(job: Job, args: argparse.Namespace) -> Job:
    """Render one photo, and its mask if that is wanted."""
    from photo import take_photo

    samples = round(args.spp * (GLASS_SAMPLES if job.label == "transparent" else 1))
    jpeg, mask = take_photo(job.seed(args.seed), job.split, job.label, samples)
    if args.masks is not None:
        write_whole(args.masks / f"{job.name}.png", as_png(mask))
    write_whole(photo_path(args.out, job), jpeg)
    return job


def as_png(mask: Any) -> bytes:
    """A mask bool [H, W] as a picture of two colours: white is the mug."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there, so that no half file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def show_progress(done: Iterable[Job], total: int) -> None:
    """One line on stderr: rewritten on a terminal, else a new one for each twentieth."""
    start, live = time.monotonic(), sys.stderr.isatty()
    for count, job in enumerate(done, 1):
        left = (time.monotonic() - start) / count * (total - count)
        line = f"{count}/{total}  {job.name}  {left / 60:.1f} min left"
        if live:
            print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)
        elif count * 20 // total > (count - 1) * 20 // total:
            print(line, file=sys.stderr, flush=True)
    print(f"\n{total} photos rendered" if live else f"{total} photos rendered", file=sys.stderr)


def contact_sheet(folder: Path, file: Path, across: int = 20, side: int = 96) -> int:
    """Write an overview of all photos, class by class, train before eval."""
    from PIL import Image, ImageOps

    rows: list[list[Path]] = []
    for split in SPLITS:
        for label in CLASSES:
            paths = sorted((folder / split / label).glob("*.jpg"))
            rows += [paths[i : i + across] for i in range(0, len(paths), across)]
    if not rows:
        print(f"no photos in {folder}", file=sys.stderr)
        return 2
    sheet = Image.new("RGB", (across * side, len(rows) * side), "white")
    for y, paths in enumerate(rows):
        for x, path in enumerate(paths):
            with Image.open(path) as photo:
                sheet.paste(ImageOps.pad(photo, (side, side), color="white"), (x * side, y * side))
    sheet.save(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
