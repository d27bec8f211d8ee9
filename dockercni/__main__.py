"""`dockercni`, `dockercni-NAME` and `python -m dockercni`."""

import sys

from dockercni.plugins.__main__ import named, serve


def main() -> int:
    """Be the plugin that the command line names, before anything slow is imported; else run a command."""
    if plugin := named(sys.argv):
        return serve(plugin)
    from dockercni import cli  # noqa: PLC0415  a CNI plugin must not wait for it

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
