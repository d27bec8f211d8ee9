#!/bin/sh
# The first process of a private host: started by unshare with a network and a mount namespace of its own, it puts
# file systems of its own over everything that an engine or dockercni writes to, says "ready", and ends when the
# other end of its standard input is gone, so with the tests however they end.
set -eu

# The machine's /run is hidden, but for the directories in it that the arguments name.
exec 3</run
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock /run/private "$@"
for directory; do
    mount --no-canonicalize --bind "/proc/self/fd/3/${directory#/run/}" "$directory"
done
exec 3<&-

# What is missing under /etc and /var/lib is made on a layer above, not on the machine.
for parent in /etc /var/lib; do
    layer=/run/private$parent
    mkdir -p "$layer/upper" "$layer/work"
    if mount -t overlay -o "lowerdir=$parent,upperdir=$layer/upper,workdir=$layer/work" overlay "$parent"; then
        if [ "$parent" = /etc ]; then
            # The machine's may be a mount or a link into the hidden /run.
            rm -f /etc/resolv.conf
            # Nobody answers here. Without a name server a question fails at once; one that is far away and silent
            # costs starts on newer engines five seconds.
            : > /etc/resolv.conf
        fi
    fi
done
for directory in /etc/cni /etc/dockercni /var/lib/docker /var/lib/cni /var/lib/containerd /var/lib/dockercni; do
    mkdir -p "$directory"
    mount -t tmpfs -o mode=755 tmpfs "$directory"
done
mkdir /etc/cni/net.d

# /sys/class/net shows the namespace that sysfs was mounted in.
mkdir /run/private/cgroup
mount --rbind /sys/fs/cgroup /run/private/cgroup
mount -t sysfs sysfs /sys
mount --move /run/private/cgroup /sys/fs/cgroup

# Shared among themselves, as on a host that systemd started.
mount --make-rshared /

ip link set lo up
# The engine sets FORWARD to DROP only if forwarding was off when it started.
echo 0 > /proc/sys/net/ipv4/ip_forward

echo ready
while read -r _; do :; done
