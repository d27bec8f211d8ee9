#!/usr/bin/env bash
# dist.sh [DIRECTORY]: build the wheel, the source distribution and, if dpkg-deb is installed, the Debian package.
set -euo pipefail
cd "${BASH_SOURCE%/*}/.."
. scripts/apt.sh

output=${1:-dist}
rm -f "$output"/dockercni[-_]*
.venv/bin/python -m build --outdir "$output" . >/dev/null
wheel=("$output"/dockercni-*.whl)
if has dpkg-deb; then
    scripts/deb.sh "${wheel[0]}" "$output" >/dev/null
else
    echo "No Debian package: dpkg-deb is not installed" >&2
fi
ls -l "$output"
