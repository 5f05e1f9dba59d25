#!/bin/sh
# Installs what Vertecast needs from the operating system (Debian, Ubuntu); safe to run again.
#   python3-venv                                    virtual environments (Debian packs this part of Python separately)
#   libgomp1                                        the OpenMP library that compiled Python packages link against
#   libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core    report.pdf: text layout and a typeface
# "install_system.sh test" adds what the tests judge DICOM objects with:
#   dcmtk dicom3tools orthanc orthanc-dicomweb orthanc-python    tools and an archive, validators, another archive with
#                                                   its DICOMweb and its Python
# and what they read the pages with:
#   chromium                                        a browser, without a window
# Nothing is installed where everything is there already, so that neither apt nor root is needed then.
set -eu

PYTHON="${PYTHON:-python3}"

has_library() {
    # ctypes asks the dynamic loader itself, so this works on systems without ldconfig in PATH too.
    "$PYTHON" -c "import ctypes; ctypes.CDLL('$1')" 2>/dev/null
}

has_program() {
    PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1
}

missing=""
if ! has_program "$PYTHON"; then
    missing="python3 python3-venv libgomp1 libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"
else
    "$PYTHON" -c "import ensurepip, venv" 2>/dev/null || missing="$missing python3-venv"
    has_library libgomp.so.1 || missing="$missing libgomp1"
    if ! has_library libpangoft2-1.0.so.0 || ! has_library libharfbuzz-subset.so.0; then
        missing="$missing libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"
    fi
fi
if [ "${1:-}" = test ]; then
    has_program dcmqrscp || missing="$missing dcmtk"
    has_program dciodvfy || missing="$missing dicom3tools"
    has_program Orthanc || missing="$missing orthanc"
    [ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing="$missing orthanc-dicomweb"
    [ -e /usr/share/orthanc/plugins/libOrthancPython.so ] || missing="$missing orthanc-python"
    has_program chromium || missing="$missing chromium"
fi

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "install_system: please install with your package manager:$missing" >&2
        exit 1
    fi
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "install_system: as root, please run: apt-get install$missing" >&2
            exit 1
        fi
        as_root="sudo"
    fi
    $as_root apt-get update
    # shellcheck disable=SC2086  # one word per package is meant
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
fi

if ! "$PYTHON" -c "import sys; sys.exit(sys.version_info < (3, 11))"; then
    echo "install_system: $("$PYTHON" --version) is too old; Vertecast needs 3.11 or newer (make PYTHON=python3.12 …)" >&2
    exit 1
fi
