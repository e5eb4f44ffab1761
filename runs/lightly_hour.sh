#!/bin/sh
# lightly's BYOL example for an hour, beside ours: needs `make bench-peers` once.
# CIFAR10: as for cifar10_15_minutes.sh.
# expected  kNN 76.7, linear 78.2 (ours); 35.4, 39.3 (lightly); 37.5, 40.2 (lightly, tuned); 38.1, 45.6 (our BYOL with its encoder and passes)
# time      3 hours and a half
# hardware  two cores of an Intel Xeon with AMX, bf16 but for lightly's fp32, torch 2.14.1, seed 0
# results   docs/results.md#lightlys-hour
set -eu
mkdir -p runs/lightly
python -m benchmarks.tonight --data "${CIFAR10:-cifar10}" --minutes 60 --out runs/lightly/tonight.json
