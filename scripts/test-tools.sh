#!/usr/bin/env bash
# Install missing programs that the tests need.
set -euo pipefail
. "${BASH_SOURCE%/*}/apt.sh"

missing=()
need() {
    has "$1" || missing+=("$2")
}

need iptables iptables
need nft nftables
need ip iproute2
need pgrep procps
need busybox busybox-static
need dnsmasq dnsmasq-base
need dig bind9-dnsutils
has_plugins || missing+=(containernetworking-plugins)

# The image of the tests is a busybox, which must be static.
if busybox=$(command -v busybox) && grep -q -a -m 1 /ld-linux "$busybox"; then
    missing+=(busybox-static)
fi

has dockerd && has docker || {
    echo "The tests start engines of their own: please install Docker Engine (dockerd and docker)" >&2
    exit 1
}
[ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
