#!/bin/sh
# The default plan on photos, labels unused, scored on a held-out fifth: DATA=photos/ runs/photos.sh
# DATA is a folder with a sub-folder for each class: Imagenette (fastai's ten classes of ImageNet) or the flower photos of TensorFlow's tutorials.
# Those measured were 5,000 photos of Imagenette at 224 px, 3,667 flowers of mixed sizes, and 2,800 aerial scenes of 200 px: other copies give other numbers.
# expected  kNN 75.0, linear 76.2 (Imagenette; hog 50.4, 56.4); kNN 81.3, linear 84.5 (flowers; hog 62.4, 66.3); kNN 86.8, linear 87.1 (aerial, Xeon with AMX; hog 52.1, 67.0). Beside busy processes 43.1, 54.7 (Imagenette)
# time      20 minutes, and one for the evaluations
# hardware  two quiet cores of an AMD EPYC with AVX-512, bf16, torch 2.14.1, seed 0
# results   docs/results.md#photos
set -eu
OUT=${OUT:-runs/photos-20-minutes}
byol pretrain --data "${DATA:?a folder of photos, by class}" --minutes 20 --seed 0 --out "$OUT"
byol evaluate "$OUT" --data "$DATA" --protocol knn linear-fast few-labels
byol evaluate hog --data "$DATA" --out "$OUT"/hog --protocol knn linear-fast few-labels
byol evaluate pixels --data "$DATA" --out "$OUT"/pixels --protocol knn linear-fast few-labels
