#!/usr/bin/env bash
# Install the distribution's CNI plugins, if no usual directory has any.
set -euo pipefail
. "${BASH_SOURCE%/*}/apt.sh"

has_plugins || install_packages containernetworking-plugins || {
    echo "No CNI plugins in /opt/cni/bin, /usr/lib/cni or /usr/libexec/cni: bridge, host-local, static, portmap, firewall," \
        "tuning and loopback are served without; for others see https://github.com/containernetworking/plugins/releases" >&2
}
