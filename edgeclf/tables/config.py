"""How a table of answers is made."""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf.errors import OptionError
from edgeclf.system.device import Device


@dataclass(frozen=True)
class BulkConfig:
    """How pictures become a table.

    Args:
        column: Of Parquet files, the column of pictures or paths; by default the one that can be.
        id_column: Of Parquet files, the column of ids; by default one that is called so.
        top: Classes in the columns ``top_labels`` and ``top_probabilities``.
        overwrite: Replace a table that is there, and throw away what another command has begun.
        ray: Address of a Ray cluster; empty for the one of ``RAY_ADDRESS``, or one that is started
            here; None for this process alone.
        runtime: A runtime's name, or ``auto``.
        device: ``cpu`` or ``cuda``.
        unverified: Take a file without a certificate, too.

    Raises:
        OptionError: A value cannot work.

    Examples:
        >>> from edgeclf import BulkConfig
        >>> BulkConfig(top=5, ray="10.0.0.7:6379").device
        'cpu'
    """

    column: str | None = None
    id_column: str | None = None
    top: int = 3
    overwrite: bool = False
    ray: str | None = None
    runtime: str = "auto"
    device: Device = "cpu"
    unverified: bool = False

    def __post_init__(self) -> None:
        if self.top < 1:
            raise OptionError(f"top is {self.top}; expected at least 1.")
