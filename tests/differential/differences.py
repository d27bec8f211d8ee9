"""The one table of differences that are allowed between the reference executables and our plugins.

A case names the rows that it expects, and fails if it does not meet one of them: no row outlives its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MISSING = "<missing>"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. All three patterns have to match, whole, for a place at which the twins differ.

    `place` is a path such as `ADD 1.result.ips[0].address`, `leases.net/10.0.0.2`, `host.link.cni0.mtu`; `reference`
    and `ours` are patterns for the values as text, `<missing>` where there is none. `reason` says why it is right.
    """

    place: str
    reference: str
    ours: str
    reason: str

    def covers(self, place: str, reference: Any, ours: Any) -> bool:
        """Whether the row allows what was found at `place`."""
        pairs = ((self.place, place), (self.reference, reference), (self.ours, ours))
        return all(re.fullmatch(pattern, str(text), re.DOTALL) for pattern, text in pairs)


ALLOWED = {
    "lease-mode": Difference(
        r"leases\..*",
        r"644 .*",
        r"600 .*",
        "The installed 1.1.1 creates lease files readable by all; the reference's later versions use 0600, as we do.",
    ),
    "empty-dns": Difference(
        r".*\.dns",
        r"\{\}",
        MISSING,
        "The installed 1.1.1 prints an empty dns in results of 1.0.0; the reference's later versions leave it out.",
    ),
    "namespace-words": Difference(
        r"(ADD|CHECK|DEL) \d+\.msg",
        r'(failed to Statfs "|unknown FS magic on ").*',
        r".*: (no such network namespace|not a network namespace)",
        "The reference tells the system call; we say what is wrong with the path.",
    ),
    "file-words": Difference(
        r"(ADD|CHECK|DEL) \d+\.msg",
        r"(open|mkdir) (/\S+): (\w+ )+\w+",
        r"/\S+: [A-Z](\w+ )+\w+",
        "The text of a system error is Python's, not Go's.",
    ),
    "wrong-type": Difference(
        r"(ADD|CHECK|DEL) \d+\.(code|msg|details)",
        r"999|[^<]*",
        r"6|7|.*ipam\.\S+: .*|(routes|dns)\S*: .*|",
        "What is wrong with a value is said with its key, and the code of a bad configuration, not that of a defect.",
    ),
    "leftover-order": Difference(
        r"ADD \d+\.msg",
        r"failed to allocate all requested IPs:.* 10\.1\.0\.\d",
        r"failed to allocate all requested IPs:.* 10\.1\.0\.\d",
        "The reference takes the requested addresses in no order; we take them in the order in which they are given.",
    ),
    "request-duplicate": Difference(
        r"ADD \d+\..*",
        r".*",
        r"999||<missing>|.* has been allocated to c1, duplicate allocation is not allowed",
        "The reference gives a second address to an attachment that names it.",
    ),
    "rollback": Difference(
        r"leases\.net/fd00:1::2",
        MISSING,
        r"600 'c1\\r\\neth0'",
        "A failed ADD of the reference also gives back what an earlier ADD of the same attachment took.",
    ),
    "versions-spoken": Difference(
        r"ADD \d+\.(code|msg|details)",
        r'.*1\.0\.0"\]|6|.*version.*|',
        r'.*1\.0\.0" "1\.1\.0"\]|1|incompatible CNI versions',
        "We speak 1.1.0 too. A malformed version is one that is not spoken.",
    ),
    "names-words": Difference(
        r"ADD \d+\.(msg|details)",
        r".*",
        r"(invalid characters in (container id|network name)|interface name .*)|'.*'",
        "The same names are refused; every refusal shows the name.",
    ),
    "decoding-words": Difference(
        r"ADD \d+\.msg",
        r".*json: cannot unmarshal number.*",
        r"error unmarshall network config: (name|cniVersion): must be a string, not 7",
        "The words of the JSON library are Go's; ours name the key.",
    ),
    "own-namespace": Difference(
        r"(ADD \d+|leases)\..*",
        r".*",
        r"8|plugin's netns and netns from CNI_NETNS should not be the same||<missing>",
        "The installed 1.1.1 does not look, and later versions look after the work is done.",
    ),
    "allmulti-pointer": Difference(
        r"CHECK \d+\.msg",
        r".* all-multicast mode of eth0 is 0x[0-9a-f]+, current value is false",
        r".* all-multicast mode of eth0 is true, current value is false",
        "The reference prints the address of the configured value.",
    ),
    "sysctl-white-space": Difference(
        r"CHECK \d+\.(code|msg|details|result)",
        r"|999|Error: Tuning configured value of \S+ is .*|<missing>",
        r"None|<missing>",
        "The kernel shows several numbers with tabs between them, so that the reference's CHECK fails for ever.",
    ),
    "sysctl-ifname": Difference(
        r"CHECK \d+\.(code|msg|details|result)",
        r"|999|open /proc/sys/net/\S*IFNAME\S*: no such file or directory|<missing>",
        r"None|<missing>",
        "The CHECK of the installed 1.1.1 does not replace IFNAME; the reference's later versions do.",
    ),
    "sysctl-not-net": Difference(
        r"(ADD|CHECK) \d+\.msg",
        r'invalid net sysctl key: "kernel\.hostname"|Error: Tuning configured value of /proc/sys/kernel/hostname is .*',
        r'invalid net sysctl key: "kernel/hostname"',
        "The CHECK of the installed 1.1.1 reads any sysctl; the reference's later versions and we stay below net/.",
    ),
    "kernel-words": Difference(
        r"(ADD|DEL) \d+\.msg",
        r"([a-z]+ )+[a-z]+",
        r"([a-z]+ )+[a-z]+ \(.*\)",
        "We add what the kernel says of its refusal besides the number.",
    ),
    "loopback-old-version": Difference(
        r"ADD \d+\.result\.(ip4|ip6|ips|interfaces|dns).*",
        r".*",
        r".*",
        "The reference prints results of 1.0.0 whatever the version: below 0.3.0 no runtime reads an address in them.",
    ),
    "backup-forgotten": Difference(
        r"backup.*",
        r".*",
        r"<missing>|\{\}",
        "The reference leaves a backup behind whose interface is gone, for ever.",
    ),
}

ALLOWED |= {
    "queue-length": Difference(
        r".*\.link\.eth\d\.(txqlen|qdisc)",
        rf"{MISSING}|noqueue",
        r"1000|noqueue",
        "The installed 1.1.1 gives the container's end no queue; the reference's later versions leave it alone.",
    ),
    "port-without-ipv6": Difference(
        r"host\.(link|route|sysctl)\..*veth#\d+(\.addr_info.*|\[\d+\].*)",
        r".*",
        rf"{MISSING}|\[\]",
        "A bridge's port needs no IPv6 address; all of their routes are gone through whenever a link comes or goes.",
    ),
    "keep-address": Difference(
        r".*\.sysctl\.net/ipv6/conf/\w+/keep_addr_on_down",
        r"0",
        r"1",
        "The installed 1.1.1 lets IPv6 addresses go when the link goes down; later versions keep them.",
    ),
    "layer-2-check": Difference(
        r"CHECK \d+\.(code|msg|details|result)",
        r".*",
        rf"None|{MISSING}",
        "The reference delegates the CHECK of a network without IPAM to a plugin without a name, and always fails.",
    ),
    "route-check": Difference(
        r"CHECK \d+\.(code|msg|details|result)",
        rf"999|Expected Route .*|{MISSING}|",
        rf"None|Expected Route .*|{MISSING}",
        "The CHECK of the installed 1.1.1 does not find a route that goes to the default gateway; later versions do.",
    ),
    "bridge-types": Difference(
        r"(ADD|DEL) \d+\.(code|msg)",
        r"999|failed to load netconf: json: cannot unmarshal .*",
        r"7|\w+: must be .*",
        "A wrong type is bad configuration, and we say what is wrong where in words that are not Go's.",
    ),
    "unknown-ipam": Difference(
        r"(ADD|DEL) \d+\.(code|msg|details)",
        r'999|failed to find plugin "\w+" in path .*|',
        r'50|plugin "\w+" not found|searched .*',
        "A plugin that is not installed is told from one that fails.",
    ),
    "bridge-refused": Difference(
        r"ADD \d+\.msg",
        r'failed to create bridge "\S+": could not add "\S+": [a-z ]+',
        r'failed to create bridge "\S+": (could not add "\S+": )?[a-z ]+ \(.*\)',
        "We add what the kernel says of its refusal, which comes when we look for the bridge already.",
    ),
    "route-words": Difference(
        r"ADD \d+\.msg",
        r"failed to add route '\{\S+ \S+\} via \S+ dev \S+': [a-z ]+",
        r"failed to add route '\S+ via \S+ dev \S+ metric \d+': [a-z ]+( \(.*\))?",
        "The reference's later versions tell the metric too; we add what the kernel says, and write prefixes as usual.",
    ),
    "masquerade-never-made": Difference(
        r"DEL \d+\.(code|msg|details|result)",
        rf"999|running \[\S+tables -t nat .* Chain 'CNI-\w+' does not exist.*|{MISSING}|",
        rf"None|{MISSING}",
        "The DEL of the reference fails where ADD failed before it masqueraded.",
    ),
    "later-words": Difference(
        r"ADD \d+\.msg",
        r"cannot set hairpin mode .*\.|failed to make veth pair: .*|container veth name provided .* already exists",
        r"cannot set hairpin mode .*|failed to make veth pair: .*|container veth name .* already exists",
        "The reference's later versions say it in other words than the installed 1.1.1, and so do we.",
    ),
    "newer-versions": Difference(
        r"(ADD|DEL) \d+\.details",
        r'.* supports \["0\.4\.0" "1\.0\.0"\]',
        r'.* supports \["0\.4\.0" "1\.0\.0" "1\.1\.0"\]',
        "The installed 1.1.1 stops at 1.0.0 of the specification.",
    ),
    "netns-words": Difference(
        r"ADD \d+\.msg",
        r'failed to open netns "/\S+": failed to Statfs "/\S+": no such file or directory',
        r'failed to open netns "/\S+": no such network namespace',
        "The reference tells the system call; we say what is wrong with the path.",
    ),
}

ALWAYS = ("lease-mode", "empty-dns", "queue-length", "keep-address", "port-without-ipv6")
"""Rows that any case may meet: those from the age of the installed executables, and what concerns every bridge."""


def flatten(value: Any, place: str = "") -> dict[str, Any]:
    """A tree as places and leaves; an empty list or object is a leaf."""
    if isinstance(value, dict) and value:
        children = [(f"{place}.{key}" if place else str(key), each) for key, each in value.items()]
    elif isinstance(value, list) and value:
        children = [(f"{place}[{index}]", each) for index, each in enumerate(value)]
    else:
        return {place: value}
    return {inner: leaf for name, child in children for inner, leaf in flatten(child, name).items()}


def found(reference: Any, ours: Any) -> list[tuple[str, Any, Any]]:
    """Where two trees differ: place, and the value on either side."""
    left, right = flatten(reference), flatten(ours)
    places = [*left, *(place for place in right if place not in left)]
    pairs = [(place, left.get(place, MISSING), right.get(place, MISSING)) for place in places]
    return [(place, one, other) for place, one, other in pairs if one != other]
