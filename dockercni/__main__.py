"""`python -m dockercni`."""

import sys

from dockercni.cli import main

if __name__ == "__main__":
    sys.exit(main())
