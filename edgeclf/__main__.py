"""`python -m edgeclf VERB`."""

from __future__ import annotations

from edgeclf.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
