from __future__ import annotations

import pytest

from edgeclf.errors import ConversionError, ImageError, InferenceError, mapped


def test_what_a_library_raises_becomes_ours_with_its_words_and_its_cause() -> None:
    cause = LookupError("no such\n  tensor.")
    with pytest.raises(InferenceError) as raised, mapped(InferenceError, "the engine failed"):
        raise cause
    assert str(raised.value) == "the engine failed: no such\n  tensor."
    assert raised.value.__cause__ is cause


def test_advice_follows_the_library_s_words_in_one_line() -> None:
    with (
        pytest.raises(ImageError, match=r"^Cannot read it: no such tensor\. Save it again\.$"),
        mapped(ImageError, "Cannot read it", "Save it again."),
    ):
        raise LookupError("no such\n  tensor.")


def test_an_error_without_words_is_named_by_its_type() -> None:
    with (
        pytest.raises(InferenceError, match=r"^it failed: ZeroDivisionError$"),
        mapped(InferenceError, "it failed"),
    ):
        raise ZeroDivisionError


@pytest.mark.parametrize("error", [ConversionError("ours"), KeyboardInterrupt(), SystemExit(3)])
def test_our_own_errors_and_an_interruption_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, mapped(InferenceError, "it failed"):
        raise error
    assert raised.value is error


def test_nothing_raised_is_nothing_said() -> None:
    with mapped(InferenceError, "it failed"):
        answer = 42
    assert answer == 42
