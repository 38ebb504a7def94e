from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs edgeclf[train]")

from edgeclf.training import progress_callback  # noqa: E402

EPOCHS, STEPS = 3, 5


class Bar:
    """Counts instead of drawing."""

    def __init__(self, title: str, total: int) -> None:
        self.total, self.counted = total, [0]

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.counted.append(self.counted[-1] + steps)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("at_once", [1, 2, STEPS])
@pytest.mark.parametrize("done", [0, 1])
def test_the_bar_ends_full(monkeypatch: pytest.MonkeyPatch, at_once: int, done: int) -> None:
    bars: list[Bar] = []

    def made(*args: Any) -> Bar:
        bars.append(Bar(*args))
        return bars[-1]

    monkeypatch.setattr(progress_callback, "Progress", made)
    image = keras.Input((2,))
    model = keras.Model(image, keras.layers.Dense(1)(image))
    model.compile(loss="mse", steps_per_execution=at_once)
    rows = np.ones((4 * STEPS, 2), np.float32)
    model.fit(
        rows, rows[:, :1], batch_size=4, epochs=EPOCHS, initial_epoch=done, verbose=0,
        callbacks=[progress_callback.ProgressCallback("new head")],
    )  # fmt: skip
    (bar,) = bars
    assert bar.total == bar.counted[-1] == EPOCHS * STEPS
    assert bar.counted == sorted(bar.counted)
    if done:
        assert bar.counted[1] == STEPS
