from __future__ import annotations

import io
import sys

import pytest

from edgeclf.system.progress import Progress, log, track


class Gone(io.StringIO):
    """A terminal that was closed while a program ran."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def test_work_goes_on_where_nobody_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (None, Gone()):  # pythonw has none
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", None)
        log("started")
        assert [*track(range(3), "count", 3)] == [0, 1, 2]
        progress = Progress("count", 3)
        progress.show()
        progress.close()


def test_a_closed_stream_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", closed())
    log("started")


def test_nothing_is_said_on_stdout_instead(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    log("started")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("encoding", "block"), [("utf-8", "█"), ("cp437", "█"), ("ascii", "#")])
def test_the_bar_is_drawn_with_what_the_encoding_has(encoding: str, block: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, errors="strict")
    Progress("count", 1, stream).advance()
    assert raw.getvalue().decode(encoding).count(block) == 24


def test_a_name_of_two_lines_makes_one() -> None:
    stream = io.StringIO()
    progress = Progress("benchmark a\nb.onnx", 1, stream)
    progress.advance(note="c\x1bd")
    assert len(stream.getvalue().splitlines()) == 1
    assert r"a\nb.onnx" in stream.getvalue() and r"c\x1bd" in stream.getvalue()
