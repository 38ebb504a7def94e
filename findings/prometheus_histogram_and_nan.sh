#!/usr/bin/env bash
# Guess: a histogram of Prometheus' client refuses a NaN, or counts it in the +Inf bucket.
# Instead: the NaN falls into no bucket and is not counted, but _sum is NaN from then on, until
#   the process ends.
# Seen with: prometheus-client 0.26.0 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: one confidence that is not a number, of one broken picture, and every average
#   over that service is empty for good, while the counts look healthy. Check before observing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    prometheus-client==0.26.0 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import math
import sys

from prometheus_client import CollectorRegistry, Histogram

registry = CollectorRegistry()
confidence = Histogram("confidence", "of an answer", registry=registry, buckets=(0.5, 1.0))
for value in (0.25, math.nan, 0.75):
    confidence.observe(value)

count, in_all, total = (
    registry.get_sample_value(f"confidence_{name}", labels)
    for name, labels in (("count", None), ("bucket", {"le": "+Inf"}), ("sum", None))
)
print(f"three observed: count {count}, bucket +Inf {in_all}, sum {total}")
sys.exit(0 if count == in_all == 2 and math.isnan(total) else 1)
PYTHON
