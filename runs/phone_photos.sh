#!/bin/sh
# The default plan on phone photos beside a busy process: DATA=imagenette/ runs/phone_photos.sh
# DATA is a folder with a sub-folder for each class; 200 photos of each are enlarged to 4,000 x 3,000 px below WORK.
# expected  kNN 66.8, linear 73.8 (10 classes of Imagenette, 400 test images); hog 47.0, 55.3
# time      20 minutes, some minutes to enlarge, and four for hog on whole photos
# hardware  two cores of an Intel Xeon with AMX, bf16, torch 2.14.1, seed 0, one process that never sleeps and other work beside
# results   docs/results.md#phone-photos-beside-busy-processes
set -eu
WORK=${WORK:-build/phone-photos}
python -m benchmarks.enlarge "${DATA:?a folder of photos, by class}" "$WORK/photos"
while :; do :; done &
BUSY=$!
trap 'kill $BUSY' EXIT
byol pretrain --data "$WORK/photos" --minutes 20 --out "$WORK/run"
byol evaluate "$WORK/run" --data "$WORK/photos"
byol evaluate hog --data "$WORK/photos" --out "$WORK/run/hog"
