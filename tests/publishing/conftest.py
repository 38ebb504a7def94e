from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.fleets import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A fleet without orders, and its server."""
    from support import fleets

    with fleets.scene(tmp_path) as made:
        yield made
