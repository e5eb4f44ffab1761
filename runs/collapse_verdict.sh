#!/bin/sh
# The limits of the verdict on collapse, fitted on half of seven studies and judged on the rest: after studies.sh.
# expected  errs in 6 of 54 runs of the other half, and in 2 of 36 of the two later studies
# time      not recorded: an evaluation of each run
# hardware  any; the runs are of two cores of an Intel Xeon with AMX
# results   docs/study-results.md#when-a-run-is-called-collapsed
set -eu
RUNS=runs/studies
python -m benchmarks.collapse_studies "$RUNS"/collapse_studies.json "$RUNS"/asymmetry-tiny "$RUNS"/augmentations-tiny \
  "$RUNS"/heads-tiny "$RUNS"/loss-normalization-tiny "$RUNS"/predictor-tiny "$RUNS"/target-rate-tiny \
  "$RUNS"/weight-decay-and-rate-tiny --unseen "$RUNS"/batch-size-tiny "$RUNS"/normalization-tiny
