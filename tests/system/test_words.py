from __future__ import annotations

import pytest

from edgeclf.system.words import counted, printable


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 threads"), (1, "1 thread"), (2, "2 threads"), (12_345, "12,345 threads")],
)
def test_a_number_of_things(number: int, words: str) -> None:
    assert counted(number, "thread") == words


def test_what_would_steer_a_terminal_is_written_out() -> None:
    assert printable("a\x1b[31mred\r\n\u202e") == "a\\x1b[31mred\\r\\n\\u202e"
    assert printable("Müslischüssel, 茶碗") == "Müslischüssel, 茶碗"
