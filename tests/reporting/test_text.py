"""Figures as a reader meets them."""

from __future__ import annotations

from edgeclf.reporting import text


def test_numbers() -> None:
    assert [text.digits(x) for x in (0.04567, 0.5, 3.14159, 12.34, 99.96, 1234.5)] == [
        "0.0457", "0.500", "3.14", "12.3", "100", "1,234",
    ]  # fmt: skip
    assert [text.size(x) for x in (12, 648_159, 999_600, 14_214_670)] == [
        "12 B", "648 kB", "1.00 MB", "14.2 MB",
    ]  # fmt: skip
    assert [text.duration(x) for x in (0.5, 999.6, 6667.5)] == ["0.500 ms", "1.00 s", "6.67 s"]
    assert [text.count(x) for x in (None, 512, 91_300, 3_418_148)] == [
        "unknown", "512", "91.3 k", "3.42 M",
    ]  # fmt: skip
    assert [text.points(x) for x in (-2.04, 0.01, 3.0)] == ["−2.0", "±0.0", "+3.0"]


def test_some_of_several_things() -> None:
    assert [text.part(count, 3, "row") for count in range(4)] == [
        "No row", "1 of 3 rows", "2 of 3 rows", "All 3 rows",
    ]  # fmt: skip
    assert [text.part(count, 1, "row") for count in range(2)] == ["No row", "The only row"]
