from __future__ import annotations

import pytest

from edgeclf.errors import OptionError
from edgeclf.registry.address import (
    Address,
    check_alias,
    check_name,
    is_server,
    parse_address,
    tracking_uri_of,
)


def test_an_address_is_read_and_written_alike() -> None:
    address = parse_address("models:/birds-2.x@champion")
    assert address == Address("birds-2.x", "champion")
    assert str(address) == "models:/birds-2.x@champion"


@pytest.mark.parametrize(
    "text",
    ["birds@champion", "models:/birds", "models:/birds/7", "models:/@champion", "models:/birds@",
     "models:/../x@champion", "models:/..@champion", "models:/birds@v1", "models:/birds@latest",
     "models:/birds@a@b", "models:/birds@a/b"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="expected"):
        parse_address(text)


def test_names_and_aliases_have_an_end() -> None:
    assert check_name("a" * 128) and check_alias("a" * 64)
    for check, word in ((check_name, "a" * 129), (check_alias, "a" * 65), (check_name, "")):
        with pytest.raises(OptionError):
            check(word)


def test_where_the_registry_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri_of(None) == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry:5000")
    assert tracking_uri_of(None) == "http://registry:5000"
    assert tracking_uri_of("sqlite:///a.db") == "sqlite:///a.db"
    assert is_server("https://a") and not is_server("sqlite:///a.db")
