"""`dockercni`, `dockercni-NAME` and `python -m dockercni`."""

import os
import sys

from dockercni.plugins.__main__ import named, serve

_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def main() -> int:
    """Run the plugin that the command line names, before anything slow is imported; else run a command.

    PATH gets the directories of system programs, where iptables and nft are: cron and `su` leave them out.
    """
    known = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*known, *(place for place in _SYSTEM if place not in known)])
    if plugin := named(sys.argv):
        return serve(plugin)
    from dockercni import cli  # noqa: PLC0415  a CNI plugin must not wait for it

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
