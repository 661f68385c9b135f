#!/usr/bin/env bash
# The bounds of the dependencies, tested at both ends: the quick tests with the lowest versions that pyproject.toml allows
# and with the newest that there are, for each Python that is named and can be had.
#
#     examples/robustness/bounds.sh [python3.10 python3.11 ...]
#
# EXTRAS, TESTS and ENDS say others than those of a device. With torch (gigabytes, where its lowest version comes with CUDA):
#
#     EXTRAS=distill,onnxruntime,openvino,nyu,meshes,video,imagenet,huggingface ENDS=lowest-direct \
#         TESTS="tests/edgekd/models tests/edgekd/distill tests/edgekd/simulate" examples/robustness/bounds.sh python3.11
set -uo pipefail
cd "$(dirname "$0")/../.."
extras=${EXTRAS:-onnxruntime,openvino,nyu,meshes,video}
work=$(mktemp -d)
wheels=()  # the lowest version is the lowest that a Python has a wheel of
for name in av h5py numpy onnx onnxruntime openvino pillow scipy torch; do wheels+=(--only-binary "$name"); done
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
[ $# -gt 0 ] || set -- python3.10 python3.11 python3.12 python3.13
failed=0
echo "| Python | versions | numpy | onnx | onnxruntime | openvino | pillow | typer | torch | tests |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
for python in "$@"; do
    if ! "$python" -V >/dev/null 2>&1; then
        echo "| $python | cannot be had here | | | | | | | | |"
        continue
    fi
    for end in ${ENDS:-lowest-direct highest}; do
        venv="$work/$python-$end"
        "$python" -m venv "$venv" && "$venv/bin/pip" install -q uv >"$work/log" 2>&1
        if ! VIRTUAL_ENV="$venv" "$venv/bin/uv" pip install -q "${wheels[@]}" --resolution "$end" -e ".[$extras]" "pytest>=8.2" \
            "hypothesis>=6.100" >"$work/log" 2>&1; then
            echo "| $python | $end | does not install: $(grep -v '^ *$' "$work/log" | head -1 | cut -c1-200) | | | | | | | |"
            failed=1
            continue
        fi
        versions=$("$venv/bin/python" - <<'PYTHON'
from importlib.metadata import PackageNotFoundError, version

def shown(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"

names = ("numpy", "onnx", "onnxruntime", "openvino", "pillow", "typer", "torch")
print(" | ".join(shown(name) for name in names))
PYTHON
)
        "$venv/bin/python" -m pytest -q -o filterwarnings= -p no:cacheprovider ${TESTS:-tests/calibration tests/edgekd/run \
            tests/edgekd/evaluate tests/edgekd/pictures tests/edgekd/cli tests/edgekd/steps/test_step_verify.py \
            tests/edgekd/steps/test_step_export.py tests/edgekd/steps/test_step_check.py \
            tests/edgekd/robustness/test_untrusted_meshes.py} >"$work/log" 2>&1 || failed=1
        echo "| $("$venv/bin/python" -V | cut -d' ' -f2) | $end | $versions | $(tail -1 "$work/log" | tr -d '=' | cut -c1-90) |"
        grep -E "^(FAILED|ERROR|E  )" "$work/log" | head -${SHOW:-8} >&2
    done
done
exit $failed
