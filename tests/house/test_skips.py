"""A test is skipped for what is not installed, and for nothing else."""

from __future__ import annotations

import pytest

from edgeclf.errors import ConversionError, DataError, MissingDependencyError
from support import optional

LACKING = MissingDependencyError("keras", "train", "Training")


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (LACKING, "keras"),
        (ModuleNotFoundError("no", name="keras.layers"), "keras"),
        (ModuleNotFoundError("no", name="edgeclf.training.fit"), "edgeclf.training"),
        (MissingDependencyError("edgeclf.train", "train", "'edgeclf train'"), "edgeclf.train"),
        (caused(ConversionError("no"), LACKING), "keras"),
        (ModuleNotFoundError("no", name="edgeclf.trainign"), None),  # no such module anywhere
        (ModuleNotFoundError("no", name="kears"), None),
        (ImportError("no", name="edgeclf.image"), None),  # every wheel has it
        (DataError("no"), None),
    ],
)
def test_only_what_an_environment_may_lack_is_a_reason(
    error: BaseException, lacking: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "lacks", lambda name: True)
    reason = None if lacking is None else f"needs {lacking}, which is not installed here"
    assert optional.reason_to_skip(error) == reason
    monkeypatch.setattr(optional, "lacks", lambda name: False)
    assert optional.reason_to_skip(error) is None
