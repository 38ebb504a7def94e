from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Iterator

import pytest

from edgeclf import errors
from edgeclf.errors import (
    ConversionError,
    EdgeclfError,
    ImageError,
    InferenceError,
    MissingDependencyError,
    mapped,
)
from edgeclf.verbs import import_verb


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


class PluginError(EdgeclfError, KeyError):
    """What another package may derive: with arguments that are not its message."""

    def __init__(self, *, port: int) -> None:
        super().__init__(f"Nothing listens on port {port}.")
        self.port = port


def all_errors(error: type[EdgeclfError] = EdgeclfError) -> Iterator[EdgeclfError]:
    """One of each class, derived ones too."""
    if error is MissingDependencyError:
        yield MissingDependencyError("onnxruntime", "onnxruntime", "Running .onnx")
    elif error.__name__ == "Problem":  # the service's, where another test has imported it
        yield error(503, "busy", "Received 3; expected 4.", retry_after_s=2)
    else:
        yield PluginError(port=80) if error is PluginError else error("Received 3; expected 4.")
    for derived in error.__subclasses__():
        yield from all_errors(derived)


@pytest.mark.parametrize("error", [*all_errors()], ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling_and_copying(error: EdgeclfError) -> None:
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    pickled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
    for again in (*pickled, copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error) and again is not error
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
        assert getattr(again, "msg", None) == getattr(error, "msg", None)  # of an ImportError


def test_the_list_of_errors_is_the_module_s() -> None:
    public = {e for e in vars(errors).values() if isinstance(e, type)
              and issubclass(e, EdgeclfError)}  # fmt: skip
    assert len(public) > 10 and public <= {type(error) for error in all_errors()}


def test_a_pool_reports_what_is_missing_in_a_worker() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.apply_async(import_verb, ("nosuch",))
        with pytest.raises(MissingDependencyError, match=r"'edgeclf\.nosuch'") as raised:
            answer.get(timeout=60)
    assert raised.value.extra == "all"
