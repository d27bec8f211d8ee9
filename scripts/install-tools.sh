#!/usr/bin/env bash
# Install the programs that the tests of what is shipped need, those that are missing.
set -euo pipefail
. "${BASH_SOURCE%/*}/apt.sh"

missing=()
has debootstrap || missing+=(debootstrap)
has docker-compose || docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
