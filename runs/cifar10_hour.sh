#!/bin/sh
# An hour of CIFAR-10 by the recipe `tonight`, on its test images, beside features with nothing learned.
# CIFAR10: as for cifar10_15_minutes.sh.
# expected  kNN 77.2 [76.3, 78.1], linear 77.8 [77.1, 78.5] over four seeds; hog 54.1, 59.2. With AVX-512 alone 74.9, 75.6 (one seed)
# time      61 minutes a seed
# hardware  two quiet cores of an Intel Xeon with AMX, bf16, torch 2.14.1, seeds 0 to 3
# results   docs/results.md#an-hour
set -eu
CIFAR10=${CIFAR10:-cifar10}
OUT=${OUT:-runs/cifar10-hour}
for SEED in 0 1 2 3; do
  byol pretrain --data "$CIFAR10"/train.parquet --recipe tonight --minutes 60 --seed "$SEED" --out "$OUT/$SEED"
  byol evaluate "$OUT/$SEED" --data "$CIFAR10"/train.parquet --test-data "$CIFAR10"/test.parquet
done
byol evaluate hog --data "$CIFAR10"/train.parquet --test-data "$CIFAR10"/test.parquet --protocol knn linear-fast --out "$OUT"/hog
