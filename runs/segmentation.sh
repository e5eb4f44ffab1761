#!/bin/sh
# Road scenes by frozen maps: CAMVID=camvid/ RUN=runs/photos LITE0=lite0/ runs/segmentation.sh
# CAMVID holds images/ and masks/ in each of train/, val/ and test/, with 11 for void. RUN is a run on photos, LITE0 what `byol import-timm tf_efficientnet_lite0` wrote.
# expected  mean IoU 16.9 untrained, 27.1 after four minutes on Imagenette, Lite0 35.2, at 224 px 40.3
# time      two to three minutes of one core for each encoder
# hardware  two cores of an Intel Xeon with AMX, torch 2.14.1, seed 0
# results   docs/results.md#road-scenes-by-frozen-maps
set -eu
CAMVID=${CAMVID:?a folder with train, val and test}
RUN=${RUN:?a run on photos}
LITE0=${LITE0:?the folder of imported weights}
WORK=${WORK:-build/segmentation}
mkdir -p "$WORK"
python tools/untrained.py "$RUN" "$WORK/untrained" --seed 0
for ENCODER in "$RUN" "$WORK/untrained" hog "$LITE0"; do
    byol evaluate "$ENCODER" --data "$CAMVID" --protocol segment --segment.ignore 11 --segment.size 128 --out "$WORK/$(basename "$ENCODER")"
done
byol evaluate "$LITE0" --data "$CAMVID" --protocol segment segment-knn --segment.ignore 11 --segment.size 224 --out "$WORK/lite0-224"
