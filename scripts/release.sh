#!/bin/sh
# Makes what a release consists of, in dist/: source archive, wheel, the licences of all that the wheel depends on
# (licences.md), and a bill of materials (sbom.cdx.json). The wheel is built from the source archive, installed into an
# empty environment with the newest of everything but torch, and must analyse a sample there, outside the repository.
set -eu

cd "$(dirname "$0")/.."
repository=$(pwd)
PYTHON="${PYTHON:-python3}"
TORCH_CPU_INDEX="${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

installed() {
    # shellcheck disable=SC2086  # one word per option is meant
    "$work/$1/bin/python" -m pip --disable-pip-version-check install --quiet $2
}

"$PYTHON" -m venv "$work/tools"
installed tools "build cyclonedx-bom pip-licenses"
rm -rf dist
"$work/tools/bin/python" -m build --outdir dist .

"$PYTHON" -m venv "$work/empty"
# The CPU build of torch, in the version of constraints.txt, is several GB smaller; where its index cannot be reached, torch comes from the usual one.
installed empty "--retries 0 --timeout 20 --no-deps -c constraints.txt --index-url $TORCH_CPU_INDEX torch" ||
    echo "release: $TORCH_CPU_INDEX cannot be used here; torch comes from the usual index"
installed empty "$(ls dist/*.whl)"

(
    cd "$work"
    empty/bin/vertecast models verify
    empty/bin/vertecast analyze "$repository/data_samples/studies/000101_post" --out out
    empty/bin/python - <<'END'
import pathlib, vertecast

(report,) = pathlib.Path("out").glob("*/report.json")
print("cement:", *(one.volume for one in vertecast.read_report(report).cement))
END
)

"$work/tools/bin/pip-licenses" --python "$work/empty/bin/python" --format markdown --with-urls --output-file dist/licences.md
"$work/tools/bin/cyclonedx-py" environment "$work/empty" --output-file dist/sbom.cdx.json
ls -l dist
