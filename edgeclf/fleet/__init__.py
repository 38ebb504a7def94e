"""What a device needs to update itself: what runs, what was ordered, and the way between.

    from edgeclf import Classifier, fleet

    model = fleet.current("/var/lib/edgeclf")
    with Classifier(model) as classifier:
        ...

``edgeclf update`` brings new files; docs/fleet.md tells how, and what may fail.
"""

from __future__ import annotations

from edgeclf.fleet.folder import confirm, current, started

__all__ = ["confirm", "current", "started"]
