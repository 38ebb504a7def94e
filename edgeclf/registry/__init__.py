"""Models in an MLflow registry: how a file gets there, what it must show, and how it comes back.

`address` and `tags` say what is meant and need nothing; `rest` asks a tracking server with Python
alone, which is all that a service needs, and `client` by MLflow's own package whatever it can.
"""

from __future__ import annotations

from pathlib import Path


def model_code_path() -> Path:
    """The file of a registered model's code; it is copied, and never imported here."""
    return Path(__file__).with_name("model_code.py")
