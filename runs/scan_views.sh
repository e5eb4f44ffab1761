#!/bin/sh
# The views of the recipe scan beside those of small on grey images, equal steps: GREY=grey/ runs/scan_views.sh
# GREY is a folder with a sub-folder for each class, of images of one channel. Those measured were 2,800 aerial scenes in grey.
set -eu
OUT=${OUT:-build/scan-views}
for seed in 0 1 2; do
    for recipe in small scan; do
        run=$OUT/$recipe-$seed
        byol pretrain --data "${GREY:?a folder of grey images, by class}" --recipe $recipe --seed $seed --out "$run" --epochs 27.5 \
            --batch-size 128 --views.size 64 --encoder.name resnet10 --encoder.width 0.25 --method.name simclr --method.temperature 0.2 \
            --heads.projector-hidden 2048 --heads.projector-output 128 --optimizer.base-learning-rate 0.6 --optimizer.weight-decay 5e-4 \
            --views.semantics torchvision --asymmetry.small-crops 2 --asymmetry.small-size 32 --asymmetry.small-area 0.1 0.4
        byol evaluate "$run" --data "$GREY" --protocol knn linear-fast few-labels
    done
done
byol evaluate hog --data "$GREY" --out "$OUT"/hog --protocol knn linear-fast few-labels
byol evaluate statistics --data "$GREY" --out "$OUT"/statistics --protocol knn linear-fast few-labels
