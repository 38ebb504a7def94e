"""The help of arguments that several verbs share names what there is."""

from __future__ import annotations

import argparse
from typing import get_args

from edgeclf import runtimes
from edgeclf.runtimes import DEFAULT_RUNTIME
from edgeclf.system.arguments import add_device, add_runtime
from edgeclf.system.device import Device

FOR_TESTS = {"fake"}


def help_of(add: object) -> str:
    parser = argparse.ArgumentParser(add_help=False)
    add(parser)  # type: ignore[operator]
    (action,) = parser._actions
    return str(action.help)


def test_every_built_in_runtime_is_named_and_the_usual_ones_with_their_format() -> None:
    text = help_of(add_runtime)
    assert all(name in text for name in runtimes._RUNTIMES._built_in.keys() - FOR_TESTS)
    assert all(f"{name} for .{format_}" in text for format_, name in DEFAULT_RUNTIME.items())
    assert "The default, auto," in text


def test_every_device_is_named() -> None:
    text = help_of(add_device)
    assert all(device in text for device in get_args(Device)) and "cpu (the default)" in text
