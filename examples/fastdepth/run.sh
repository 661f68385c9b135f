#!/usr/bin/env bash
# The whole path on FastDepth, a network that was trained on real pictures (NYU Depth v2): a student distilled from it
# without data, and the network itself in INT8 without data. The pairs only measure.
#
#     examples/fastdepth/run.sh PAIRS/index.csv [STEPS]
#
# PAIRS/index.csv lists RGB-D pairs: dataset,rgb,depth,depth_units_per_metre. What is finished is not done again.
set -euo pipefail
pairs=${1:-}
[ -e "$pairs" ] || { echo "RGB-D pairs not found: '$pairs'. Usage: $0 PAIRS/index.csv [STEPS]" >&2; exit 2; }
steps=${2:-1000}

edgekd distill --teacher fastdepth --steps "$steps" --out runs/fastdepth-slim-l
edgekd export runs/fastdepth-slim-l
edgekd check runs/fastdepth-slim-l
edgekd bench runs/fastdepth-slim-l --data "$pairs"

edgekd calibrate --teacher fastdepth --out runs/fastdepth
edgekd export runs/fastdepth
edgekd check runs/fastdepth
edgekd bench runs/fastdepth --data "$pairs"
