"""Where files lie that belong to a database."""

from __future__ import annotations

from pathlib import Path

_SCHEME = "sqlite:///"


def folder_beside(uri: str, name: str) -> str | None:
    """A folder in ``mlruns`` beside a SQLite database.

    MLflow would take ``mlruns`` in the folder that the program runs in, wherever the database is.

    Args:
        uri: The database's, such as ``sqlite:///runs/mlflow.db``.
        name: The folder's.

    Returns:
        Its absolute path; None for any other kind of registry, which knows where its files go.
    """
    if not uri.startswith(_SCHEME):
        return None
    return str(Path(uri.removeprefix(_SCHEME)).resolve().parent / "mlruns" / name)
