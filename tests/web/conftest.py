from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.services import Running


@pytest.fixture(scope="module")
def service(model_folder: Path) -> Iterator[Running]:
    """A service with the page, and a model of each kind that a browser runs."""
    from support.pages import REPLAYED  # not where the service is not installed
    from support.services import serving

    files = [f"{name}={model_folder / f'mugs.{name}'}" for name in REPLAYED]
    with serving("--ui", *files) as running:
        yield running
