#!/bin/sh
# The demo with all its epochs and three seeds.
# expected  kNN 85.2 [83.6, 86.7], linear 88.5 [88.3, 88.7], 10 labels per class 76.1 [74.9, 77.3]
# time      672 s
# hardware  two cores of an Intel Xeon with AMX, bf16, torch 2.14.1, seeds 0 to 2
# results   docs/results.md#the-demo
set -eu
byol demo --epochs 16 --seeds 3 --out "${OUT:-runs/demo-seeds}"
