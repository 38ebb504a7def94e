"""`python -m edgeclf.fleet`: the publisher's verb, whose code is `edgeclf.publishing`."""

from __future__ import annotations

import sys

from edgeclf.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["fleet", *sys.argv[1:]]))
