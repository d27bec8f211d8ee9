#!/usr/bin/env bash
# venv.sh dev|runtime: create .venv with this project in it, or update it if pyproject.toml is newer.
set -euo pipefail
cd "${BASH_SOURCE%/*}/.."
. scripts/apt.sh

kind=$1
stamp=.venv/.installed # contains the tree's path and the kind; a copied or moved tree gets a new .venv

up_to_date() {
    [ -e "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ] &&
        { [ "$(cat "$stamp")" = "$PWD dev" ] || [ "$(cat "$stamp")" = "$PWD $kind" ]; }
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11}; do
        if has "$candidate" && is_new_enough "$candidate"; then
            "$candidate" -c 'import os, sys; print(os.path.realpath(sys.executable))' # past any wrapper
            return
        fi
    done
    echo "No Python 3.11 or later found (looked for: ${PYTHON:-python3 and python3.11 to python3.14}); set PYTHON" >&2
    return 1
}

make_venv() {
    local python version
    python=$(find_python) || { [ -z "${PYTHON:-}" ] && install_packages python3 && python=$(find_python); }
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        install_packages "python$version-venv" || install_packages python3-venv
    fi
    "$python" -m venv --clear .venv
}

if up_to_date; then
    exit
fi
# Console scripts contain the path of their Python, so a moved .venv must be made again.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1 || ! grep -qsF "$PWD " "$stamp"; then
    make_venv
fi
case $kind in
    dev) what='.[dev]' ;;
    runtime) what=. ;;
    *) echo "usage: venv.sh dev|runtime" >&2; exit 2 ;;
esac
if grep -qs ' dev$' "$stamp"; then
    kind=dev what='.[dev]' # never remove what is installed
fi
rm -f "$stamp"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --editable "$what" </dev/null
echo "$PWD $kind" >"$stamp"
