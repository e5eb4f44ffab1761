"""The chosen number of threads beside made-up busy processes."""

import pytest
from benchmarks import busy


@pytest.mark.full
@pytest.mark.parametrize("neighbours", [1, 2])
def test_chosen_threads_are_about_as_fast_as_the_best_fixed_number(neighbours: int) -> None:
    result = busy.measure([neighbours], seconds=8.0)
    slow = {pair: ratio for pair, ratio in result["times_better"].items() if ratio["median"] < 0.9}
    assert len(result["times_better"]) == 3
    assert not slow
