"""Whether a calibrated file can be believed: confidence, unknown and sets on the mugs' photos.

Everything is fitted to one half of the 240 evaluation photos and measured on the other, 50 times
by chance, as `edgeclf calibrate --trained` does it once by hashes, and without train photos too.
What is far from the mugs: crops of photos that installed packages carry (scikit-image,
scikit-learn, matplotlib), grey, noise and gradients. What is near: corners of the very evaluation
photos, without a mug or with its edge.

    pip install scikit-image scikit-learn matplotlib
    python benchmarks/trust_quality.py

Coverage of sets is over 100 splits. It varies with both halves, the one that sets the quantile and
the one that is counted, so the interval that it has to be in counts both; beside the count stands
the one that exact quantiles have in the mean (beta-binomial; Vovk, "Conditional validity of
inductive conformal predictors", 2012). Beside the calibration error stands that of a forecaster who
is right exactly as often as it says: what so few photos show where nothing is wrong.
"""

from __future__ import annotations

import io
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from conversion_quality import crop
from conversion_quality import photos as package_photos
from PIL import Image
from shared import PHOTOS, Figure, finish, parse

from edgeclf import Classifier, ImageSpec, load_image
from edgeclf.artifact import load_artifact
from edgeclf.datasets.photos import Photos, find_photos
from edgeclf.inference.confidence import Confidence, confidences, set_scores
from edgeclf.metrics.reliability import auroc, calibration_error
from edgeclf.trust import novelty
from edgeclf.trust.calibration import Answers, ask, fit_trust
from edgeclf.trust.prediction_sets import contained, fit_sets
from edgeclf.trust.temperature import floor_of

HALVES, SPLITS = 50, 100
CROPS, PLAIN, CORNERS = 300, 60, 120
CORNER = 0.3  # of a photo's side


def main() -> int:
    args = parse(__doc__, file=("mugs.int8.tflite", "the artifact"))
    artifact = load_artifact(args.artifacts / args.file)
    spec = artifact.metadata.image
    known = find_photos(PHOTOS, artifact.metadata.labels)
    train = find_photos(PHOTOS.parent / "train", artifact.metadata.labels)
    with Classifier(artifact) as classifier:
        if not classifier.gives_features:
            print(f"{args.file} has no features, or its runtime gives none")
            return 2
        answers, trained = (
            ask(classifier, [load_image(path, spec) for path in photos.paths], photos.targets)
            for photos in (known, train)
        )
        far = ask_strangers(classifier, far_images(spec))
        near = ask_strangers(classifier, near_images(known, spec))
    floor = floor_of(artifact.metadata.precision)
    rounds = [one_half(seed, answers, trained, far, near, floor) for seed in range(HALVES)]
    taken = Counter(each.pop("score") for each in rounds)
    figures = [*spread(rounds), *coverage(answers)]
    print(f"scores taken in {HALVES} halves: {dict(taken)}")
    method = (
        f"{HALVES} random halves of {len(known)} photos, of which "
        f"{int((answers.probabilities.argmax(axis=1) != known.targets).sum())} are answered wrong; "
        f"{len(far.probabilities)} far and {len(near.probabilities)} near unknown pictures"
    )
    return finish(__file__, figures, method, args.write, scores_taken=dict(taken), file=args.file)


def ask_strangers(classifier: Classifier, images: Iterable[np.ndarray]) -> Answers:
    """The answers to pictures of none of the classes."""
    pictures = list(images)
    return ask(classifier, pictures, np.full(len(pictures), -1))


def far_images(spec: ImageSpec) -> Iterator[np.ndarray]:
    """Crops of photos of anything, then grey, noise and gradients."""
    rng = np.random.default_rng(0)
    paths = package_photos()
    for index in range(CROPS):
        yield load_image(crop(paths[index % len(paths)], rng), spec)
    shape = (spec.height, spec.width, 3)
    ramp = np.linspace(0, 1, spec.width)[np.newaxis, :, np.newaxis]
    for index in range(PLAIN // 3):
        yield np.full(shape, index * 255 // (PLAIN // 3), np.uint8)
        coarse = rng.integers(0, 256, (4 + 4 * index, 4 + 4 * index, 3), np.uint8)
        yield load_image(Image.fromarray(coarse).resize((spec.width, spec.height)), spec)
        ends = rng.integers(0, 256, (2, 3))
        yield np.broadcast_to(ends[0] + (ends[1] - ends[0]) * ramp, shape).astype(np.uint8)


def near_images(known: Photos, spec: ImageSpec) -> Iterator[np.ndarray]:
    """Corners of known photos, one a photo, enlarged to the model's input."""
    rng = np.random.default_rng(1)
    for index in rng.permutation(len(known))[:CORNERS]:
        with Image.open(known.paths[index]) as opened:
            picture = opened.convert("RGB")
        width, height = (round(side * CORNER) for side in picture.size)
        left = int(rng.choice([0, picture.size[0] - width]))
        corner = picture.crop((left, 0, left + width, height))
        buffer = io.BytesIO()
        corner.resize((160, 160), Image.Resampling.BICUBIC).save(buffer, "PNG")
        yield load_image(buffer.getvalue(), spec)


def one_half(
    seed: int, known: Answers, trained: Answers, far: Answers, near: Answers, floor: float
) -> dict[str, Any]:
    """Fits on one half, of the far pictures too, and measures on the other; near ones are new."""
    rng = np.random.default_rng(seed)
    fitted, far_fitted = half_of(rng, known.targets), np.zeros(len(far.probabilities), bool)
    far_fitted[rng.permutation(len(far_fitted))[: len(far_fitted) // 2]] = True
    half, half_far = known.subset(fitted), far.subset(far_fitted)
    trust = fit_trust(half, half_far, trained, floor=floor)
    alone = fit_trust(half, half_far, None, floor=floor)
    assert known.pooled is not None
    confidence, without = (
        Confidence(each, known.pooled.shape[1], known.probabilities.shape[1])
        for each in (trust, alone)
    )
    others = known.subset(~fitted)
    correct = others.probabilities.argmax(axis=1) == others.targets
    certain = confidences(others.probabilities, confidence.temperature, floor)
    strangers = far.subset(~far_fitted)
    return {
        "score": trust["novelty"]["score"],
        "temperature": confidence.temperature,
        "calibration error before": calibration_error(others.probabilities.max(axis=1), correct),
        "calibration error": calibration_error(certain, correct),
        "calibration error of a perfect forecaster": statistics.mean(
            calibration_error(certain, rng.random(len(certain)) < certain) for _ in range(20)
        ),
        **unknowns(confidence, others, strangers, near, ""),
        **unknowns(without, others, strangers, near, ", without train photos"),
        **each_score(trained, others, strangers, near),
    }


def unknowns(
    confidence: Confidence, known: Answers, far: Answers, near: Answers, words: str
) -> dict[str, float]:
    scored = {
        name: score(confidence, answers)
        for name, answers in (("known", known), ("far", far), ("near", near))
    }
    return {
        f"false unknowns{words}": float((scored["known"] > 1).mean()),
        f"recall far{words}": float((scored["far"] > 1).mean()),
        f"recall near{words}": float((scored["near"] > 1).mean()),
        f"AUROC far{words}": auroc(scored["known"], scored["far"]),
        f"AUROC near{words}": auroc(scored["known"], scored["near"]),
    }


def each_score(trained: Answers, others: Answers, far: Answers, near: Answers) -> dict[str, float]:
    """The AUROC of every score, whichever was taken."""
    found = {}
    classes = trained.probabilities.shape[1]
    names = (*novelty.FEATURE_SCORES, "confidence")
    fitted = novelty.fit_scores(names, trained.pooled, trained.targets, classes)
    for name, stored in fitted.items():
        known, *unknown = (
            novelty.scores_of(stored, each.pooled, each.probabilities.max(axis=1))
            for each in (others, far, near)
        )
        for kind, scores in zip(("far", "near"), unknown, strict=True):
            found[f"AUROC {kind} by {name}"] = auroc(known, scores)
    return found


def score(confidence: Confidence, answers: Answers) -> np.ndarray:
    certain = confidences(answers.probabilities, confidence.temperature, confidence.floor)
    return confidence.novelty.scores(answers.pooled, certain) / confidence.novelty.threshold


def half_of(rng: np.random.Generator, targets: np.ndarray) -> np.ndarray:
    """A random half of each class."""
    mask = np.zeros(len(targets), bool)
    for target in np.unique(targets):
        members = rng.permutation(np.flatnonzero(targets == target))
        mask[members[: len(members) // 2]] = True
    return mask


LIMITS: dict[str, dict[str, float]] = {
    "calibration error": {"at_most": 0.02},
    "false unknowns": {"at_most": 0.08, "at_least": 0.02},
    "recall far": {"at_least": 0.9},
    "recall near": {"at_least": 0.9},
    "AUROC far": {"at_least": 0.97},
    "AUROC near": {"at_least": 0.97},
}


def spread(rounds: list[dict[str, Any]]) -> Iterator[Figure]:
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        low, high = np.percentile(values, (5, 95))
        limit = LIMITS.get(name, {})
        yield Figure(
            f"{name}, mean of the halves", statistics.mean(values),
            at_most=limit.get("at_most"),
            at_least=None if "at_most" in limit else limit.get("at_least"),
            note=f"5 % {low:.3f}, 95 % {high:.3f}",
        )  # fmt: skip


def coverage(known: Answers) -> Iterator[Figure]:
    """How often the sets of a coverage of 90 % hold the right class, over random splits."""
    held: dict[str, list[float]] = {"sets": [], "bare": []}
    sizes = []
    for seed in range(SPLITS):
        fitted = half_of(np.random.default_rng(1000 + seed), known.targets)
        record = fit_sets(known.probabilities[fitted], known.targets[fitted])
        rows, right = known.probabilities[~fitted], known.targets[~fitted]
        place = np.arange(len(right)), right
        inside = contained(record, rows, 0.9)
        held["sets"].append(float(inside[place].mean()))
        sizes.append(float(inside.sum(axis=1).mean()))
        scores = set_scores(rows, record["score"], record["penalty"])[place]
        limits = np.broadcast_to(limits_of(record), rows.shape[1])
        held["bare"].append(float((scores <= limits[right]).mean()))
    count = len(known.targets) // 2
    both = 1.96 * np.sqrt(0.9 * 0.1 * 2 / count)
    one = 1.96 * np.sqrt(0.9 * 0.1 / count)
    found = {name: np.array(shares) for name, shares in held.items()}
    # Where each class has its own quantile, each brings its own chance.
    halves = [count] if len(limits_of(record)) == 1 else np.bincount(right).tolist()
    law = law_of_coverage(halves)
    shares = np.arange(count + 1) / count
    fair = {width: 100 * float(law[np.abs(shares - 0.9) <= width].sum()) for width in (both, one)}
    yield Figure("coverage of sets of 90 %, mean of the splits", float(found["sets"].mean()),
                 at_least=0.9, note=f"5 % {np.percentile(found['sets'], 5):.3f}")  # fmt: skip
    yield Figure("size of sets of 90 %, mean", statistics.mean(sizes), "labels")
    yield Figure("splits whose coverage is not below the interval of 90 %",
                 int((found["sets"] >= 0.9 - both).sum()), at_least=90)  # fmt: skip
    yield Figure("coverage of the quantile alone (sets may be empty), mean",
                 float(found["bare"].mean()))  # fmt: skip
    yield Figure("splits where that is within the interval of both halves",
                 int((np.abs(found["bare"] - 0.9) <= both).sum()), at_least=90,
                 note=f"exact quantiles have {fair[both]:.0f} in the mean")  # fmt: skip
    yield Figure("splits where that is within the interval of one half",
                 int((np.abs(found["bare"] - 0.9) <= one).sum()),
                 note=f"exact quantiles have {fair[one]:.0f} in the mean")  # fmt: skip


def limits_of(record: dict[str, Any]) -> list[float]:
    """The quantiles for 90 %: one, or one a class."""
    limits: list[float] = next(e["quantiles"] for e in record["levels"] if e["coverage"] == 0.9)
    return limits


def law_of_coverage(halves: list[int]) -> np.ndarray:
    """How probable it is that exact quantiles hold 0, 1, ... of all photos.

    Args:
        halves: For each quantile, how many photos set it, and as many again are counted.
    """
    from scipy.stats import betabinom

    law = np.ones(1)
    for half in halves:
        rank = math.ceil(round((half + 1) * 0.9, 9))
        law = np.convolve(law, betabinom(half, rank, half + 1 - rank).pmf(np.arange(half + 1)))
    return law


if __name__ == "__main__":
    raise SystemExit(main())
