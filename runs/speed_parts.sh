#!/bin/sh
# Parts of the package beside torchvision, scikit-learn and torch: views, loading, neighbours, LARS, the L-BFGS probe.
# DATA is a folder of photos; 165 of about 500 x 375 px were measured.
# expected  views 41x and 26x (32 and 224 px), loading 2.4x, neighbours 5.8x, LARS 28.1 ms beside 120.5, the probe 5.2x
# time      not recorded: some minutes
# hardware  two cores of an AMD EPYC with AVX-512, torch 2.14.1
# results   docs/speed.md
set -eu
python -m benchmarks.augment --size 32 --rounds 5
python -m benchmarks.augment --size 224 --rounds 15
python -m benchmarks.loader --data "${DATA:?a folder of photos}"
python -m benchmarks.knn
python -m benchmarks.optimizer --rounds 5
python -m benchmarks.linear_fast
