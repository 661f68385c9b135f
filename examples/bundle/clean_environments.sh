#!/usr/bin/env bash
# A bundle's self-test in environments with numpy and one runtime alone, on the oldest Python it is for where that is here.
#     examples/bundle/clean_environments.sh runs/kitchen/bundle/kitchen [PYTHON]
set -euo pipefail
bundle=${1:?the folder of a bundle, runs/NAME/bundle/NAME}
python=${2:-$(command -v python3.8 || command -v python3)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for runtime in onnxruntime openvino; do
    "$python" -m venv "$work/$runtime"
    "$work/$runtime/bin/pip" install -q numpy "$runtime"
    cp -r "$bundle" "$work/bundle-$runtime"
    echo "$("$python" --version), $("$work/$runtime/bin/pip" list 2>/dev/null | grep -iE '^(numpy|onnxruntime|openvino) ' | tr -s ' ' | paste -sd, -)"
    "$work/$runtime/bin/python" "$work/bundle-$runtime/run.py" --seconds 1
done
