"""Energy, where the machine measures it: RAPL of x86 processors, INA sensors of Jetson boards."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from edgeclf.system.sysfs import SYS, read_int, read_text

_INA = re.compile(r"ina\d+")
_TOTAL_RAIL = "VDD_IN"  # the Jetson's label for the whole module


class EnergyMeter(Protocol):
    """Something that counts joules.

    Attributes:
        source: What measures, and what of the machine.
    """

    source: str

    def joules(self) -> float:
        """Energy since the meter was made; to be read several times a minute."""
        ...


def find_energy_meter(sys_folder: Path = SYS) -> EnergyMeter | None:
    """The meter of this machine; None where there is none that this user may read.

    Args:
        sys_folder: Where sysfs is mounted.
    """
    zones = [
        zone
        for zone in sorted((sys_folder / "class/powercap").glob("intel-rapl:*"))
        if zone.name.count(":") == 1 and (read_text(zone / "name") or "").startswith("package")
    ]
    if zones and all(read_int(zone / "energy_uj") is not None for zone in zones):
        return RaplMeter(zones)
    rails = _rails(sys_folder)
    return InaMeter(rails) if rails else None


class RaplMeter:
    """The processor's own counters, which start again from 0 when they are full.

    Args:
        zones: Folders with ``energy_uj`` and ``max_energy_range_uj``.
    """

    source = "RAPL: all processor packages, with what else runs on them"

    def __init__(self, zones: Sequence[Path]) -> None:
        self._zones = {zone: read_int(zone / "energy_uj") or 0 for zone in zones}
        self._microjoules = 0

    def joules(self) -> float:
        """See `EnergyMeter.joules`."""
        for zone, before in self._zones.items():
            now = read_int(zone / "energy_uj") or 0
            full = read_int(zone / "max_energy_range_uj") or 0
            self._microjoules += now - before if now >= before else now - before + full + 1
            self._zones[zone] = now
        return self._microjoules / 1e6


class InaMeter:
    """Sensors of voltage and current; the power between two readings is taken as their mean.

    Args:
        rails: For each the files of its voltage in mV and its current in mA.
        clock: Gives seconds.
    """

    source = "INA sensors of the board, between two windows of sampling"

    def __init__(
        self, rails: Sequence[tuple[Path, Path]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rails, self._clock = rails, clock
        self._joules = 0.0
        self._last = (clock(), self._watts())

    def joules(self) -> float:
        """See `EnergyMeter.joules`."""
        now, watts = self._clock(), self._watts()
        then, before = self._last
        self._joules += (now - then) * (before + watts) / 2
        self._last = (now, watts)
        return self._joules

    def _watts(self) -> float:
        return (
            sum((read_int(volts) or 0) * (read_int(amps) or 0) for volts, amps in self._rails) / 1e6
        )


def _rails(sys_folder: Path) -> list[tuple[Path, Path]]:
    """Voltage and current of the whole board where one rail is that, else of every rail."""
    rails, total = [], []
    for monitor in sorted((sys_folder / "class/hwmon").glob("hwmon*")):
        if not _INA.match(read_text(monitor / "name") or ""):
            continue
        for volts in sorted(monitor.glob("in[0-9]*_input")):
            number = volts.name.removeprefix("in").removesuffix("_input")
            amps = monitor / f"curr{number}_input"
            if read_int(volts) is None or read_int(amps) is None:
                continue
            rails.append((volts, amps))
            if read_text(monitor / f"in{number}_label") == _TOTAL_RAIL:
                total.append((volts, amps))
    return total or rails
