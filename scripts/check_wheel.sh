#!/bin/sh
# Builds the source archive, and the wheel from it; installs the wheel into an empty environment, without constraints, and
# analyses a sample with it from outside the repository.
set -eu

cd "$(dirname "$0")/.."
repository=$(pwd)
PYTHON="${PYTHON:-python3}"
TORCH_CPU_INDEX="${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$PYTHON" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --disable-pip-version-check install --quiet"
$pip build
"$work/venv/bin/python" -m build --outdir "$work/dist" .
rm -rf "$work/venv"

"$PYTHON" -m venv "$work/venv"
# The CPU build of torch is several GB smaller; where its index cannot be reached, torch comes from the usual one.
$pip --retries 0 --timeout 20 --no-deps --index-url "$TORCH_CPU_INDEX" torch ||
    echo "check_wheel: $TORCH_CPU_INDEX cannot be used here; torch comes from the usual index"
$pip "$work"/dist/*.whl

cd "$work"
venv/bin/vertecast models verify
venv/bin/vertecast analyze "$repository/data_samples/studies/000101_post" --out out
venv/bin/python - <<'END'
import pathlib, vertecast

(report,) = pathlib.Path("out").glob("*/report.json")
print("cement:", *(one.volume for one in vertecast.read_report(report).cement))
END
