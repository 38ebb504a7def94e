"""A load test on a terminal."""

from __future__ import annotations

import pytest

from edgeclf.service.load.table import knee_in_words, to_text
from support.load_records import make_record, make_step


def test_the_table_has_a_line_for_each_step_the_lowest_rate_first() -> None:
    lines = to_text(make_record()).splitlines()
    assert [line.split("  ")[0] for line in lines[:6]] == [
        "load", "100/s", "200/s", "400/s", "800/s", "8 clients",
    ]  # fmt: skip
    assert len({len(line) for line in lines[:6]}) == 1
    assert lines[4].split()[:7] == ["800/s", "800", "400", "400", "1,600", "0", "0"]
    assert lines[1].split()[9] == "-"  # 400 samples carry no p99


def test_what_was_found_follows() -> None:
    text = to_text(make_record())
    assert "The knee: 400 a second are answered in time; of 800, 50.0 %" in text
    assert "800/s: refusals took 2.00 ms at the median." in text
    assert "queue 60.75, decode 1.00" in text and "The server held 80 MB." in text
    assert "WARNING" not in text and "Interrupted" not in text
    steps = [make_step(100, noticed_ms=5.0), make_step(200, failed=0.1)]
    late = to_text(make_record(steps, interrupted=True))
    assert "100/s: WARNING: the generator did not keep up" in late and "Interrupted" in late
    assert "200/s: without an answer: 80 timeout" in late


@pytest.mark.parametrize(
    ("held", "beyond", "words"),
    [
        (None, 50.0, "The knee lies below 50 a second, where it is slow."),
        (50.0, None, "The knee was not reached: 50 a second were answered in time."),
        (50.0, 60.0, "The knee: 50 a second are answered in time; of 60, it is slow."),
    ],
)
def test_the_knee_in_words(held: float | None, beyond: float | None, words: str) -> None:
    knee = {"rate_per_s": held, "beyond_per_s": beyond, "why": "it is slow"}
    assert knee_in_words(knee) == words
