#!/bin/sh
# What `small --minutes` takes, on 5,000 and on 2,000 images of CIFAR-10, scored on its test images.
# CIFAR10 is a folder of train/train.parquet and test/test.parquet, the files of cifar10_15_minutes.sh.
# expected  kNN 52.0, linear 56.3, 10 labels per class 40.5 (5,000); 50.3, 54.1, 38.8 (2,000); hog 42.2, 53.6 and 39.1, 48.4
# time      182 to 283 s a training, six trainings, two at a time
# hardware  one core each of an Intel Xeon with AMX, bf16, torch 2.14.1, seeds 0 to 2
# results   docs/results.md#a-few-thousand-images
set -eu
CIFAR10=${CIFAR10:-cifar10}
LEDGER=${LEDGER:-runs/few_images/ledger.jsonl}
mkdir -p "$(dirname "$LEDGER")"
python tools/search.py "$LEDGER" --data "$CIFAR10"/train --test-data "$CIFAR10"/test --recipe small --images 5000 --epochs 20 \
  --untrained --seeds 0 1 2 --jobs 2 @tools/trials/small_minutes.txt hog pixels
python tools/search.py "$LEDGER" --data "$CIFAR10"/train --test-data "$CIFAR10"/test --recipe small --images 2000 --epochs 50 \
  --untrained --seeds 0 1 2 --jobs 2 @tools/trials/small_minutes.txt hog pixels
