#!/bin/sh
# The nine studies at scale tiny, with the images that their records had.
# CIFAR10: as for few_images.sh.
# expected  53 expectations: held 24, did not hold 5, undecided 12, underpowered 12
# time      3 hours and a half; a study 17 to 72 minutes
# hardware  two cores of an Intel Xeon with AMX, bf16, torch 2.14.1, seeds 0 to 2
# results   docs/study-results.md
set -eu
byol study normalization --images 200000
byol study batch-size --images 200000
byol study augmentations --data "${CIFAR10:-cifar10}" --images 150000
byol study target-rate --images 100000
byol study predictor --images 100000
byol study asymmetry --images 100000
byol study heads --images 100000
byol study loss-normalization --images 150000
byol study weight-decay-and-rate --images 100000
