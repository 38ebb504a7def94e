"""examples/classify_photo, run as its readers run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgeclf
from support.example_scripts import complaints, start


def test_photos_get_a_table_each_and_a_bad_one_does_not_stop_them(
    model: Path, classifier: edgeclf.Classifier, photos: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    done = start("classify_photo", model, photos[0], bad, *photos[1:])
    assert done.returncode == 2
    assert len(complaints(done)) == 1 and "bad.jpg as an image" in done.stderr
    lines = iter(done.stdout.splitlines())
    for photo in photos:
        expected = classifier.classify(photo)
        assert next(lines) == str(photo)
        assert next(lines).split() == ["CLASSES", "PROBABILITIES"]
        for score in expected.top(3):
            assert next(lines).split() == [score.label, f"{score.probability:.1%}"]
        stages = re.findall(r"(\w+) ([\d.]+) ms", next(lines))
        times_ms = {stage: float(value) for stage, value in stages}
        assert list(times_ms) == ["decode", "preprocess", "inference", "total"]
        total_ms = times_ms.pop("total")
        assert total_ms == pytest.approx(sum(times_ms.values()), abs=0.03) and total_ms > 0
    assert next(lines, None) is None
    assert start("classify_photo", model, photos[0], "--top", 1).returncode == 0
