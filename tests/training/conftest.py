from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def shallow_students() -> Iterator[None]:
    """Gives the two smallest students two blocks instead of six.

    TensorFlow takes seconds to trace a training step, for each layer; the tests here are about
    training, whatever the network. Those of tests/networks build the real ones.
    """
    pytest.importorskip("keras", reason="needs edgeclf[train]")
    from edgeclf.networks.student import STUDENTS

    with pytest.MonkeyPatch.context() as patch:
        for name in ("student-xs", "student-s"):
            patch.setitem(STUDENTS, name, dataclasses.replace(STUDENTS[name], blocks=2))
        yield
