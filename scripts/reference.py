#!/usr/bin/env python3
"""Write the reference of commands and settings into README.md, from the program as it is now."""

from pathlib import Path

from dockercni.commands.manual.markdown import replaced

README = Path(__file__).parents[1] / "README.md"

if __name__ == "__main__":
    README.write_text(replaced(README.read_text(encoding="utf-8")), encoding="utf-8")
