#!/bin/sh
# A training with its data beside plain PyTorch, lightly and byol-pytorch: needs `make bench-peers` once.
# CIFAR10: as for cifar10_15_minutes.sh.
# expected  1.9x plain PyTorch in bf16, 2.8x lightly with autocast, 6.5x without (AMX); 1.30x, 1.60x, 4.2x (AVX-512)
# time      620 s
# hardware  two cores of an Intel Xeon with AMX; two of an AMD EPYC with AVX-512, 3 rounds of one step; torch 2.14.1
# results   docs/speed.md#beside-other-projects
set -eu
mkdir -p runs/speed
python -m benchmarks.peers --data "${CIFAR10:-cifar10}"/train.parquet --steps 3 --rounds 2 --seconds 620 --out runs/speed/peers.json
