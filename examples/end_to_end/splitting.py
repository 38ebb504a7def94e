"""Pictures to three tables that share nothing: to learn from, to choose by, to judge by once.

Pictures of one thing stay on one side: those that say so by their names, exact copies, and pictures
that look nearly alike. With one on each side, an accuracy would be that of a memory.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from plan import SPLITS, Plan
from signs import FRAMES, TABLE, draw_set, draw_unknown

import edgeclf
from edgeclf.datasets.cache import cache_photos
from edgeclf.datasets.photos import LABELS_FILE, Photos, check_disjoint, find_photos
from edgeclf.datasets.validation import check_contents
from edgeclf.image import ImageSpec
from edgeclf.system import files
from edgeclf.system.progress import log
from edgeclf.training.photo_checks import describe_balance, keep_readable

# Of 256 that may differ between pictures that are taken for one. Mugs saved again at quality 50
# differ in up to 24; of pictures of different things, mugs differ in 74 at least, signs in 51.
_NEAR_BITS = 32
_ROWS = 512  # compared at once with all others
_JUDGES = ("test", "eval")  # folders beside train/ that hold the test pictures already
_SHEET = (12, 64)  # pictures a row of the overview, and their side


def prepare(plan: Plan) -> None:
    """Draws the pictures, unless they are the user's, and writes the three tables."""
    if plan.data is None:
        draw_set(plan.photos, plan.size.signs, plan.size.labels)
        assert plan.unknown is not None
        draw_unknown(plan.unknown, plan.size.unknown)
    found, judges = find_pictures(plan.photos)
    photos = keep_readable(found, plan.out / "cache", skip=False)
    for line in describe_balance(photos):
        log(line)
    check_contents(photos)  # one picture with two labels
    spec = ImageSpec(height=16, width=17)
    prints = fingerprints(cache_photos(photos, spec, plan.out / "cache"))
    near = near_pairs(prints)
    groups = groups_of(photos, plan.groups, near)
    splits = split_groups(photos, groups, judges, plan.seed)
    write_tables(plan, photos, groups, splits)
    draw_sheet(photos, splits, plan.out / "data.png")
    files.write_json(plan.data_record, record(plan, photos, groups, splits, near))


def find_pictures(root: Path) -> tuple[Photos, set[int]]:
    """The pictures of a folder of classes, or of one with ``train`` and ``test`` or ``eval`` in it.

    Returns:
        All of them, and the indices of those that the folders say are to judge by.
    """
    beside = [root / name for name in _JUDGES if (root / name).is_dir()]
    if not (root / "train").is_dir() or not beside:
        return find_photos(root), set()
    learn = find_photos(root / "train")
    judge = find_photos(beside[0], learn.labels)
    targets = np.concatenate([learn.targets, judge.targets])
    both = Photos(root, learn.labels, learn.paths + judge.paths, targets)
    return both, set(range(len(learn), len(both)))


def fingerprints(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """256 bits of each picture: where it becomes brighter from left to right.

    Args:
        images: uint8 [N, 16, 17, 3].

    Returns:
        float32 [N, 256], 1 or -1.
    """
    grey = np.asarray(images, np.float32).mean(axis=3)
    rises = np.diff(grey, axis=2).reshape(len(grey), -1) > 0
    return np.where(rises, np.float32(1), np.float32(-1))


def near_pairs(prints: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs of pictures that look nearly alike: whose fingerprints differ in few bits."""
    bits = prints.shape[1]
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(prints), _ROWS):
        products = prints[start : start + _ROWS] @ prints.T  # bits - 2 x those that differ
        rows, others = np.nonzero(products >= bits - 2 * _NEAR_BITS)
        firsts = rows + start
        pairs += zip(
            firsts[others > firsts].tolist(), others[others > firsts].tolist(), strict=True
        )
    return pairs


def groups_of(photos: Photos, pattern: str | None, near: list[tuple[int, int]]) -> list[str]:
    """What each picture shows: equal texts are one thing."""
    names = [photos.name_of(path) for path in photos.paths]
    things = [_thing(name, pattern) for name in names]
    leader = {thing: thing for thing in things}

    def find(thing: str) -> str:
        while leader[thing] != thing:
            thing = leader[thing]
        return thing

    by_content: dict[str, str] = {}
    for thing, digest in zip(things, photos.content_sha256, strict=True):
        leader[find(thing)] = find(by_content.setdefault(digest, thing))
    for first, second in near:
        leader[find(things[second])] = find(things[first])
    return [find(thing) for thing in things]


def _thing(name: str, pattern: str | None) -> str:
    """The class folder and what the pattern finds in the file's name; else the name itself."""
    folder, _, file = name.rpartition("/")
    found = re.search(pattern, file) if pattern else None
    return name if found is None else f"{folder}/{found[0]}"


def split_groups(
    photos: Photos, groups: list[str], judges: set[int], seed: int
) -> dict[str, list[int]]:
    """The indices of each table; every class has its share of groups in each.

    Args:
        photos: All pictures.
        groups: What each shows.
        judges: Indices of those that are to judge by already; empty to choose some.
        seed: Decides the rest.

    Raises:
        DataError: A class has too few groups, or some are on both sides already.
    """
    where = dict.fromkeys((groups[i] for i in sorted(judges)), "test")
    torn = [i for i, group in enumerate(groups) if group in where and i not in judges]
    if torn:
        first = photos.paths[torn[0]]
        other = next(photos.paths[i] for i in sorted(judges) if groups[i] == groups[torn[0]])
        raise edgeclf.DataError(
            f"{len(torn)} pictures to learn from show what others judge by, so no accuracy would "
            f"be honest; the first is {first}, as {other}. Remove them from one side."
        )
    home = {
        group: target
        for group, target in zip(reversed(groups), reversed(photos.targets.tolist()), strict=True)
        if group not in where
    }
    rng = np.random.default_rng(seed)
    taken = ("val",) if judges else ("test", "val")
    whole = SPLITS["train"] + sum(SPLITS[split] for split in taken)
    for target, label in enumerate(photos.labels):
        members = sorted(group for group, of in home.items() if of == target)
        if len(members) < 1 + len(taken):
            raise edgeclf.DataError(
                f"The class {label!r} has {len(members)} different things in {photos.root} to "
                f"part; expected at least {1 + len(taken)}, one each for the tables train, "
                f"{', '.join(reversed(taken))}. Pictures of one thing and near copies count as "
                "one: add others."
            )
        shuffled = [members[i] for i in rng.permutation(len(members))]
        for split in taken:
            count = max(1, round(SPLITS[split] / whole * len(members)))
            where |= dict.fromkeys(shuffled[:count], split)
            del shuffled[:count]
        where |= dict.fromkeys(shuffled, "train")
    return {split: [i for i, g in enumerate(groups) if where[g] == split] for split in SPLITS}


def write_tables(
    plan: Plan, photos: Photos, groups: list[str], splits: dict[str, list[int]]
) -> None:
    """Three CSV with path, label, group and, of drawn signs, what made the picture difficult."""
    conditions = _conditions(plan.photos)
    folder = plan.table("train").parent
    folder.mkdir(parents=True, exist_ok=True)
    if (plan.photos / LABELS_FILE).is_file():  # the order of the classes
        shutil.copy(plan.photos / LABELS_FILE, folder)
    for split, indices in splits.items():
        table = plan.table(split)
        rows: list[tuple[str, ...]] = [("path", "label", "group", "condition")]
        for index in indices:
            path, name = photos.paths[index], photos.name_of(photos.paths[index])
            label = photos.labels[photos.targets[index]]
            place = os.path.relpath(path, table.parent)
            rows.append((place, label, groups[index], conditions.get(name, "")))
        with files.replacing(table) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _conditions(folder: Path) -> dict[str, str]:
    if not (folder / TABLE).is_file():
        return {}
    with open(folder / TABLE, newline="", encoding="utf-8") as file:
        return {row["path"]: row["condition"] for row in csv.DictReader(file)}


def record(
    plan: Plan, photos: Photos, groups: list[str], splits: dict[str, list[int]],
    near: list[tuple[int, int]],
) -> dict[str, object]:  # fmt: skip
    """What the data are, and that the tables, as they were written, share nothing."""
    found = {split: find_photos(plan.table(split), photos.labels) for split in splits}
    for first, second in combinations(splits, 2):
        check_disjoint(found[first], found[second], f"what {second}.csv says")
    side = {index: split for split, indices in splits.items() for index in indices}
    shared = [set(found[a].groups) & set(found[b].groups) for a, b in combinations(splits, 2)]
    return {
        "name": plan.name,
        "origin": "drawn by signs.py" if plan.data is None else "the user's own folder",
        "labels": list(photos.labels),
        "pictures": len(photos),
        "things": len(set(groups)),
        "frames": FRAMES if plan.data is None else None,
        "splits": {
            split: {
                "pictures": len(each),
                "things": len(set(each.groups)),
                "sha256": each.sha256,
                "by_class": dict(Counter(photos.labels[t] for t in each.targets.tolist())),
            }
            for split, each in found.items()
        },
        "near_copies": len(near),
        "leaks": {
            "pictures": 0,  # or check_disjoint had refused them
            "things": sum(map(len, shared)),
            "near_copies": sum(side[a] != side[b] for a, b in near),
        },
    }  # fmt: skip


def draw_sheet(photos: Photos, splits: dict[str, list[int]], path: Path) -> None:
    """An overview to look at: a row a class, of the pictures to learn from."""
    across, side = _SHEET
    sheet = Image.new("RGB", (across * side, len(photos.labels) * side))
    for row in range(len(photos.labels)):
        members = [i for i in splits["train"] if photos.targets[i] == row]
        step = max(1, len(members) // across)
        for column, index in enumerate(members[::step][:across]):
            pixels = edgeclf.load_image(photos.paths[index], ImageSpec(side, side))
            sheet.paste(Image.fromarray(pixels), (column * side, row * side))
    with files.replacing(path) as temporary:
        sheet.save(temporary)
