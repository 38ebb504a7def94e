#!/usr/bin/env bash
# Guess: Optuna's TPE keeps away from a choice whose trials are told as FAIL.
# Instead: it runs into it: after 40 trials nearly all go to the choice that always fails. Told as
#   pruned, or with the worst value, about 8 of 60 do.
# Seen with: optuna 5.0.0 (Python 3.11, Linux x86_64, 2026-11-28).
# Why it matters: a network that runs out of memory or cannot be built is told as failed by most
#   examples; the search then spends its budget on it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv" || exit 2
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    optuna==5.0.0 numpy==2.4.6 || exit 2
cd "$folder"
venv/bin/python -I - <<'PYTHON'
import statistics
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
STATE = optuna.trial.TrialState


def visits(told: str, seed: int) -> int:
    """How many of the last 60 of 100 trials took the choice that always fails."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    count = 0
    for index in range(100):
        trial = study.ask()
        network = trial.suggest_categorical("network", ["small", "large", "too large"])
        rate = trial.suggest_float("rate", 0, 1)
        if network != "too large":
            study.tell(trial, (rate - 0.3) ** 2 + 0.1 * (network == "large"))
            continue
        count += index >= 40
        if told == "failed":
            study.tell(trial, state=STATE.FAIL)
        elif told == "pruned":
            trial.report(1.0, 0)
            study.tell(trial, state=STATE.PRUNED)
        else:
            study.tell(trial, 10.0)
    return count


seen = {told: [visits(told, seed) for seed in range(5)] for told in ("failed", "pruned", "worst")}
print(f"of the last 60 trials, five seeds: {seen}")
median = {told: statistics.median(counts) for told, counts in seen.items()}
sys.exit(0 if median["failed"] > 40 and max(median["pruned"], median["worst"]) < 20 else 1)
PYTHON
