"""Where a model is in a registry, and where the registry is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from edgeclf.errors import OptionError

DEFAULT_URI = "sqlite:///mlflow.db"  # MLflow's own
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VERSION_LIKE = re.compile(r"[vV][0-9]+|latest")  # which MLflow keeps for itself


@dataclass(frozen=True)
class Address:
    """What an alias of a registered model stands for at the moment.

    Attributes:
        name: Of the registered model.
        alias: Such as ``champion``.
    """

    name: str
    alias: str

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}"


def parse_address(text: str) -> Address:
    """Reads ``models:/NAME@ALIAS``.

    Raises:
        OptionError: It is something else.
    """
    name, separator, alias = text.removeprefix("models:/").partition("@")
    if not text.startswith("models:/") or not separator:
        raise OptionError(
            f"The model in the registry is {text!r}; expected models:/NAME@ALIAS, such as "
            "models:/birds@champion."
        )
    return Address(check_name(name), check_alias(alias))


def check_name(name: str) -> str:
    """A registered model's name, which becomes part of addresses and of files' names.

    Raises:
        OptionError: It cannot be.
    """
    if not _NAME.fullmatch(name) or not name.strip("."):
        raise OptionError(
            f"The model's name is {name!r}; expected up to 128 letters, digits, '.', '_' and '-'."
        )
    return name


def check_alias(alias: str) -> str:
    """An alias as MLflow takes it.

    Raises:
        OptionError: It does not.
    """
    if not _ALIAS.fullmatch(alias) or _VERSION_LIKE.fullmatch(alias):
        raise OptionError(
            f"The alias is {alias!r}; expected up to 64 letters, digits, '_' and '-', and neither "
            "'latest' nor a word such as 'v1', which MLflow keeps for itself."
        )
    return alias


def tracking_uri_of(given: str | None) -> str:
    """Where the registry is: as said, else by `MLFLOW_TRACKING_URI`, else a file in this folder."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def is_server(tracking_uri: str) -> bool:
    """Whether it is a tracking server, which answers over HTTP."""
    return tracking_uri.startswith(("http://", "https://"))
