"""Random rows of a parquet file, in their order: python -m benchmarks.some_rows train.parquet 5000 some.parquet"""

import sys

import numpy as np
import pyarrow.parquet as pq


def some_rows(file: str, count: int, out: str) -> None:
    """Writes `count` rows of `file` to `out`, drawn with seed 0."""
    table = pq.read_table(file)
    pq.write_table(table.take(np.sort(np.random.default_rng(0).permutation(table.num_rows)[:count])), out)


if __name__ == "__main__":
    some_rows(sys.argv[1], int(sys.argv[2]), sys.argv[3])
