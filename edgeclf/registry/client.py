"""MLflow's own client, with its errors in our words and its own folder left alone."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeclf.errors import EdgeclfError, MissingDependencyError, OptionError, RegistryError
from edgeclf.registry.address import Address
from edgeclf.registry.tags import Entry, entry_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MISSING = "RESOURCE_DOES_NOT_EXIST"


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of the registry at an address, which need not be the process's.

    Raises:
        MissingDependencyError: MLflow is not installed.
        OptionError: MLflow knows no such kind of address.
    """
    # Nobody is told from here how the registry is used; MLflow reads these when it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(
            exc.name or "mlflow", "registry", f"The registry at {tracking_uri}"
        ) from exc
    # Two hundred lines of migrations for a new database are no news.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    try:
        with asking(tracking_uri):
            client: MlflowClient = MlflowClient(tracking_uri, tracking_uri)
            client._get_registry_client()  # which looks at the address
    except RegistryError as exc:
        if isinstance(exc.__cause__, MlflowException):
            raise OptionError(
                f"MLflow cannot use {tracking_uri!r} as a registry: {exc.__cause__}. Expected "
                "sqlite:///FILE or the http:// address of a tracking server."
            ) from exc
        raise
    return client


@contextmanager
def asking(tracking_uri: str) -> Iterator[None]:
    """Raises what MLflow, its database or its connection raise in the block as `RegistryError`.

    Args:
        tracking_uri: What is asked.
    """
    try:
        yield
    except EdgeclfError:
        raise
    except Exception as exc:  # of MLflow, requests, SQLAlchemy and SQLite; no base class is shared
        words = " ".join((str(exc) or type(exc).__name__).split())[:400]
        raise RegistryError(f"The registry at {tracking_uri} refuses or is away: {words}") from exc


@contextmanager
def as_default(tracking_uri: str) -> Iterator[None]:
    """Lets the block's calls, parts of which ask for MLflow's own default, mean one registry."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def is_missing(error: RegistryError) -> bool:
    """Whether there is no such thing in the registry, which itself answers."""
    return getattr(error.__cause__, "error_code", None) == _MISSING


class ClientSource:
    """Any registry that MLflow reads, by MLflow itself.

    Args:
        tracking_uri: Where it is.

    Attributes:
        uri: The same.
        client: MLflow's.

    Raises:
        MissingDependencyError: MLflow is not installed.
        OptionError: It is no address of a registry.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.uri = tracking_uri
        self.client = open_client(tracking_uri)

    def resolve(self, address: Address) -> Entry:
        """See `Source.resolve`."""
        with asking(self.uri):
            found = self.client.get_model_version_by_alias(address.name, address.alias)
        return entry_of(address.name, str(found.version), found.tags)

    def entry(self, name: str, version: str) -> Entry:
        """A version by its number.

        Raises:
            RegistryError: There is none.
        """
        with asking(self.uri):
            found = self.client.get_model_version(name, version)
        return entry_of(name, str(found.version), found.tags)

    def download(self, entry: Entry, target: Path) -> None:
        """See `Source.download`; begins anew each time."""
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory(prefix=".edgeclf-", dir=target.parent) as folder:
            with asking(self.uri):
                place = self.client.get_model_version_download_uri(entry.name, entry.version)
                found = download_artifacts(
                    artifact_uri=f"{place}/{entry.file}",
                    dst_path=folder,
                    tracking_uri=self.uri,
                )
            Path(found).replace(target)
