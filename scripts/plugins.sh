#!/usr/bin/env bash
# Install the distribution's CNI plugins, if no usual directory has any.
set -euo pipefail
. "${BASH_SOURCE%/*}/apt.sh"

has_plugins || install_packages containernetworking-plugins || {
    echo "dockercni needs CNI plugins (bridge, host-local, portmap, firewall, ...) in /opt/cni/bin, /usr/lib/cni or" \
        "/usr/libexec/cni: see https://github.com/containernetworking/plugins/releases" >&2
    exit 1
}
