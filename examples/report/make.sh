#!/usr/bin/env bash
# The report of a FastDepth run that lies beside this script, and the pictures of it: a student distilled without data,
# exported, measured on real RGB-D pairs (their figures only) and on simulated rooms held out from everything (their
# pictures too).
#
#     examples/report/make.sh PAIRS/index.csv [STEPS]
#
# What is finished is not done again. Screenshots need Qt (pip install PySide6); without it they stay as they are.
set -euo pipefail
pairs=${1:-}
[ -e "$pairs" ] || { echo "RGB-D pairs not found: '$pairs'. Usage: $0 PAIRS/index.csv [STEPS]" >&2; exit 2; }
steps=${2:-1000}
here=$(dirname "$0")
run=runs/fastdepth-slim-l

edgekd distill --teacher fastdepth --steps "$steps" --out "$run"
edgekd export "$run"
edgekd simulate --out runs/held-out --count 40 --seed 4711 --look photographed --keep-depth
edgekd bench "$run" --data runs/held-out
edgekd bench "$run" --data "$pairs" --no-frames
edgekd report "$run" --out "$here"
python "$here/screenshots.py" "$here/report.html"
