#!/usr/bin/env bash
# A bundle's self-test in environments with numpy and one runtime alone, on the oldest Python it is for where that is here.
#     examples/bundle/clean_environments.sh runs/kitchen/bundle/kitchen [PYTHON]
set -euo pipefail
bundle=${1:-}
[ -f "$bundle/run.py" ] || { echo "No bundle in '$bundle'. Usage: $0 runs/NAME/bundle/NAME [PYTHON]" >&2; exit 2; }
python=${2:-$(python3.8 -V >/dev/null 2>&1 && echo python3.8 || echo python3)}  # a version manager's may not run
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for runtime in onnxruntime openvino; do
    "$python" -m venv "$work/$runtime"
    "$work/$runtime/bin/pip" install -q numpy "$runtime"
    cp -r "$bundle" "$work/bundle-$runtime"
    echo "$("$python" --version), $("$work/$runtime/bin/pip" list 2>/dev/null | grep -iE '^(numpy|onnxruntime|openvino) ' | tr -s ' ' | paste -sd, -)"
    "$work/$runtime/bin/python" "$work/bundle-$runtime/run.py" --seconds 1
done
