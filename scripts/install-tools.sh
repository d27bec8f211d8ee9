#!/usr/bin/env bash
# install-tools.sh [machine]: install missing programs that tests/install needs; with "machine", also those of the
# emulated machine.
set -euo pipefail
. "${BASH_SOURCE%/*}/apt.sh"

missing=()
has debootstrap || missing+=(debootstrap)
has docker-compose || docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
if [ "${1:-}" = machine ]; then
    has qemu-system-x86_64 || missing+=(qemu-system-x86)
    has ssh || missing+=(openssh-client)
    has mke2fs || missing+=(e2fsprogs)
fi
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
