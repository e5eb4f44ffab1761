"""Durations in words."""

import pytest

from byol.runtime.duration import in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3900, "1 h 5 min"), (273600, "3 d 4 h")],
)
def test_duration_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
