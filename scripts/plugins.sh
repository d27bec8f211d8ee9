#!/usr/bin/env bash
# Install the distribution's CNI plugins, unless one of the usual directories has some.
set -euo pipefail
. "${BASH_SOURCE%/*}/apt.sh"

has_plugins || install_packages containernetworking-plugins || {
    echo "No CNI plugins in /opt/cni/bin, /usr/lib/cni or /usr/libexec/cni: bridge, host-local, static, portmap, firewall," \
        "tuning and loopback are built in; for others see https://github.com/containernetworking/plugins/releases" >&2
}
