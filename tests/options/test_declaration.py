"""Options that are declared once: the checks, the command line, the record and the keywords."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import edgeclf
from edgeclf.errors import OptionError
from edgeclf.options.declaration import (
    Options,
    Range,
    add_arguments,
    from_arguments,
    option,
    takes,
)


@dataclass(frozen=True, kw_only=True)
class Lens(Options):
    """What is in front."""

    focus: tuple[float, float] = option((0.0, 1.0), help="near and far", metavar="NEAR FAR")
    tint: float | tuple[float, float, float] = option(0.0, help="one, or one for each of RGB")


@dataclass(frozen=True, kw_only=True)
class Shot(Options):
    """How a picture is taken."""

    frames: int = option(3, help="how many, 100 % of them sharp", within=Range(least=1))
    exposure: float = option(0.5, help="in seconds", within=Range(above=0, most=8), metavar="S")
    noise: float | None = option(None, help="at most", within=Range(least=0, below=1))
    mode: Literal["auto", "manual"] = option("auto", help="who decides", group="by hand")
    names: Sequence[str] = option(("a", "b"), help="of the frames")
    flash: bool = option(False, help="light it", group="by hand")
    file: str | os.PathLike[str] | None = option(None, help="where from")
    out: str | os.PathLike[str] | None = option(None, help="where to", recorded=False)
    lens: Lens = option(Lens(), help="what is in front", group="the lens")


@takes(Shot)
def shoot(scene: str, config: Shot) -> tuple[str, Shot]:
    """Takes a picture.

    Args:
        scene: Of what.
        config: All of the following
            at once.

    Returns:
        Both.
    """
    return scene, config


@takes(Lens)
def look(scene: str, at: str, config: Lens) -> tuple[str, str, Lens]:
    """Looks."""
    return scene, at, config


def parsed(*words: str) -> Shot:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser, Shot)
    return from_arguments(parser.parse_args(words), Shot)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frames": 0}, r"frames is 0; expected at least 1\."),
        ({"frames": 2.5}, r"frames is 2\.5; expected a whole number, at least 1\."),
        ({"frames": True}, "frames is True; expected a whole number"),
        ({"frames": None}, "frames is None; expected a whole number"),
        ({"frames": "3"}, "frames is '3'; expected a whole number"),
        ({"exposure": 0}, "exposure is 0; expected more than 0, at most 8"),
        ({"exposure": 8.1}, "exposure is 8.1; expected more than 0, at most 8"),
        ({"exposure": math.nan}, "exposure is nan; expected a number"),
        ({"exposure": math.inf}, "exposure is inf; expected a number"),
        ({"noise": -0.1}, "noise is -0.1; expected at least 0, less than 1"),
        ({"noise": 1}, "noise is 1; expected at least 0, less than 1"),
        ({"mode": "own"}, "mode is 'own'; expected auto or manual"),
        ({"mode": None}, "mode is None; expected auto or manual"),
        ({"names": "ab"}, "names is 'ab'; expected a sequence of texts"),
        ({"names": []}, "names is .*; expected a sequence of texts"),
        ({"names": ["a", 1]}, "names is .*; expected a sequence of texts"),
        ({"flash": 1}, "flash is 1; expected True or False"),
        ({"file": 3}, "file is 3; expected a path"),
        ({"file": ""}, "file is ''; expected a path that is not empty"),
        ({"lens": {}}, r"lens is \{\}; expected a Lens"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Shot(**given)
    with pytest.raises(OptionError, match=message):
        shoot("sea", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"focus": (1, 2, 3)}, "expected 2 numbers"),
        ({"focus": 1}, "expected 2 numbers"),
        ({"tint": (1, 2)}, "expected a number or 3 numbers"),
        ({"tint": (1, 2, "3")}, "expected a number or 3 numbers"),
    ],
)
def test_so_many_numbers_are_wanted(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Lens(**given)


def test_values_become_what_their_types_say() -> None:
    assert Lens(focus=[1, 2]) == Lens(focus=(1.0, 2.0))  # type: ignore[arg-type]
    assert Lens(tint=[2]).tint == 2.0  # type: ignore[arg-type]
    shot = Shot(frames=np.int64(2), exposure=np.float32(0.5), names=["a"])
    assert (type(shot.frames), type(shot.exposure), shot.names) == (int, float, ("a",))
    assert type(Shot(exposure=1).exposure) is float
    assert Shot(frames=1, exposure=8, noise=0).noise == 0, "the ends belong to a range"


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("", {}),
        ("--frames 2 --exposure 1 --noise 0.5", {"frames": 2, "exposure": 1, "noise": 0.5}),
        ("--mode manual --flash", {"mode": "manual", "flash": True}),
        ("--names x y z", {"names": ["x", "y", "z"]}),
        ("--file a/b.png --out c", {"file": "a/b.png", "out": "c"}),
        ("--focus 1 2 --tint 3", {"lens": Lens(focus=(1, 2), tint=3)}),
        ("--tint 1 2 3", {"lens": Lens(tint=(1, 2, 3))}),
    ],
)
def test_the_command_line_says_the_same_as_python(words: str, given: dict[str, Any]) -> None:
    assert parsed(*words.split()) == Shot(**given)


def test_the_command_line_refuses_the_same() -> None:
    with pytest.raises(OptionError, match="frames is 0; expected at least 1"):
        parsed("--frames", "0")
    with pytest.raises(OptionError, match="expected a number or 3 numbers"):
        parsed("--tint", "1", "2")
    for words in (["--mode", "own"], ["--frames", "two"]):
        with pytest.raises(argparse.ArgumentError):
            parsed(*words)


def test_help_tells_range_default_and_choices() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Shot)
    told = " ".join(parser.format_help().split())
    assert "--frames N how many, 100 % of them sharp (at least 1; default: 3)" in told
    assert "--exposure S in seconds (more than 0, at most 8; default: 0.5)" in told
    assert "--names TEXT [TEXT ...] of the frames (default: a b)" in told
    assert "--noise NUMBER at most (at least 0, less than 1)" in told
    assert told.count("by hand:") == 1 and "--mode {auto,manual} who decides" in told
    assert "the lens: --focus NEAR FAR near and far (default: 0.0 1.0)" in told
    assert "--out PATH" in told and "--lens" not in told


def test_the_record_is_plain_json_that_makes_the_same_options() -> None:
    shot = Shot(
        frames=5, names=["x"], file=Path("far/away.png"), out="o", lens=Lens(tint=(1, 2, 3))
    )
    record = shot.record()
    plain = json.loads(json.dumps(record))
    assert plain == record and "out" not in record
    assert record["file"] == "away.png", "no path of a machine"
    assert record["lens"] == {"focus": [0.0, 1.0], "tint": [1.0, 2.0, 3.0]}
    again = Shot(**{**plain, "lens": Lens(**plain["lens"])})
    assert again.record() == record and again.lens == shot.lens
    assert Shot(exposure=1).record() == Shot(exposure=1.0).record()
    assert json.dumps(Shot(exposure=1).record()) == json.dumps(Shot(exposure=1.0).record())


def test_options_are_taken_by_keyword_or_all_at_once() -> None:
    assert shoot("sea", frames=2) == ("sea", Shot(frames=2)) == shoot("sea", Shot(frames=2))
    assert shoot("sea", config=Shot(frames=2)) == shoot(scene="sea", frames=2)  # type: ignore[call-overload]
    assert look("sea", "noon", tint=1.0) == ("sea", "noon", Lens(tint=1))
    assert look("sea", "noon", Lens(tint=1.0)) == look("sea", at="noon", tint=1.0)  # type: ignore[call-overload]


def test_a_keyword_that_is_none_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"shoot\(\) takes no 'frame'; did you mean 'frames'\?"):
        shoot("sea", frame=2)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"takes no 'tint'; write lens=Lens\(tint=\.\.\.\)"):
        shoot("sea", tint=2)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"takes no 'zzz'; expected frames, exposure, .*lens\."):
        shoot("sea", zzz=2)  # type: ignore[call-overload]


def test_a_config_stands_alone() -> None:
    with pytest.raises(TypeError, match="and frames; expected a Shot alone"):
        shoot("sea", Shot(), frames=2)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="config 'noon'; expected a Shot alone"):
        shoot("sea", "noon")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        shoot()  # type: ignore[call-overload]


def test_signature_and_docstring_tell_the_options() -> None:
    parameters = inspect.signature(shoot).parameters
    assert list(parameters) == ["scene", "config", *(each.name for each in fields(Shot))]
    frames = parameters["frames"]
    assert (frames.kind, frames.default, frames.annotation) == (frames.KEYWORD_ONLY, 3, "int")
    assert inspect.cleandoc(shoot.__doc__ or "").splitlines()[2:10] == [
        "Args:",
        "    scene: Of what.",
        "    config: All of the following",
        "        at once.",
        "    frames: How many, 100 % of them sharp (at least 1).",
        "    exposure: In seconds (more than 0, at most 8).",
        "    noise: At most (at least 0, less than 1).",
        "    mode: Who decides.",
    ]
    assert "Attributes:\n    focus: Near and far.\n    tint: One, or one" in (Lens.__doc__ or "")


@pytest.mark.parametrize("verb", ["train", "distill", "convert"])
def test_the_verbs_tell_every_option(verb: str) -> None:
    function = getattr(edgeclf, verb)
    keywords = [
        p for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY
    ]
    assert len(keywords) > 8
    told = function.__doc__.partition("Args:")[2].partition("Returns:")[0]
    for each in keywords:
        assert f"\n    {each.name}: " in told
