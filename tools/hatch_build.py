"""What hatchling asks when it builds one of the wheels; the answers are in wheels.py."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_HERE = Path(__file__).resolve().parent


class WheelContents(BuildHookInterface):  # type: ignore[type-arg]
    """Fills the wheel that `wheel` names in the hook's table."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the files of a wheel; to an editable one none, as it points to the checkout."""
        if version == "editable":
            self._drop_other_wheels()
            return
        contents = runpy.run_path(str(_HERE / "wheels.py"))["contents"]
        build_data["force_include"].update(
            {str(path): f"edgeclf/{path.name}" for path in contents(self.config["wheel"])}
        )

    def _drop_other_wheels(self) -> None:
        """Lets nothing bring a second copy of what the checkout holds anyway."""
        core = self.metadata.core
        for needed in (core.dependencies, *core.optional_dependencies.values()):
            needed[:] = [each for each in needed if not each.startswith("edgeclf-")]
