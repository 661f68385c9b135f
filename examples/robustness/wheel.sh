#!/usr/bin/env bash
# Builds the wheel twice, apart in time and place, and compares: the same commit gives the same bytes.
#
#     examples/robustness/wheel.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
for round in 1 2; do
    git archive --prefix="copy-$round/" HEAD | tar -x -C "$work"
    "$python" -m pip wheel -q --no-deps -w "$work/$round" "$work/copy-$round"
    sleep 2
done
(cd "$work/1" && sha256sum ./*.whl)
cmp "$work"/1/*.whl "$work"/2/*.whl && echo "the same bytes twice"
