#!/bin/sh
# The views of the recipe scan against those of small, on grey pictures, in equal steps: AERIAL=aerial/ runs/scan_views.sh
# AERIAL is a folder with a sub-folder for each class; its pictures are made grey below WORK.
# expected  kNN small 55.5, scan 60.7; linear 60.2, 64.9; statistics 46.3, 48.2
# time      25 minutes
# hardware  two busy cores of an Intel Xeon with AMX, bf16, torch 2.14.1, seeds 0 to 2
# results   docs/results.md#views-for-scans
set -eu
WORK=${WORK:-build/scan-views}
python -m benchmarks.grey "${AERIAL:?a folder of pictures, by class}" "$WORK/grey"
for SEED in 0 1 2; do
  byol pretrain --data "$WORK/grey" --recipe small --epochs 30 --batch-size 128 --method.name simclr --encoder.name resnet10 --encoder.width 0.25 --encoder.stem imagenet --views.size 64 --seed "$SEED" --out "$WORK/small-$SEED"
  byol evaluate "$WORK/small-$SEED" --data "$WORK/grey" --protocol knn linear-fast
  byol pretrain --data "$WORK/grey" --recipe scan --epochs 30 --batch-size 128 --method.name simclr --encoder.name resnet10 --encoder.width 0.25 --encoder.stem imagenet --views.size 64 --seed "$SEED" --out "$WORK/scan-$SEED"
  byol evaluate "$WORK/scan-$SEED" --data "$WORK/grey" --protocol knn linear-fast
done
for SUBJECT in statistics pixels hog; do
  byol evaluate "$SUBJECT" --data "$WORK/grey" --protocol knn linear-fast --out "$WORK/$SUBJECT"
done
