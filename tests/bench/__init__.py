"""How long things take: measured in turn in one run, on the real kernel, in private hosts."""
