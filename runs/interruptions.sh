#!/bin/sh
# A training that is killed 50 times and resumed, beside one left alone: in float32, and in bf16 with a worker process.
# expected  weights and metrics equal, bit for bit (killed 50 times)
# time      1,243 s, and 899 s in bf16
# hardware  two cores with other work beside them, torch 2.14.1
# results   docs/results.md#the-long-checks
set -eu
python -m pytest -m full tests/integration/test_kill.py
