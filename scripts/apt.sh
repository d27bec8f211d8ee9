# Sourced by the other scripts: installs packages by apt-get, or says which ones to install where there is none.
# shellcheck shell=bash

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

has() {
    command -v "$1" >/dev/null 2>&1
}

# install_packages PACKAGE...: never upgrades or restarts what is already installed.
install_packages() {
    if ! has apt-get || [ "$(id -u)" != 0 ]; then
        echo "Please install these packages (Debian's names): $*" >&2
        return 1
    fi
    echo "Installing: $*" >&2
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
    local options=(-y -q --no-install-recommends --no-upgrade)
    if ! apt-get install "${options[@]}" "$@" </dev/null >/dev/null 2>&1; then
        apt-get update -q </dev/null >&2
        apt-get install "${options[@]}" "$@" </dev/null >&2
    fi
}

# has_plugins: whether one of the usual directories has CNI plugins.
has_plugins() {
    local directory
    for directory in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do
        [ ! -x "$directory/bridge" ] || return 0
    done
    return 1
}
