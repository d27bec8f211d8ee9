#!/usr/bin/env python3
"""Write the reference of commands and settings into README.md and docs, from the program as it is now."""

from pathlib import Path

from dockercni.commands.manual.markdown import pages, replaced

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

if __name__ == "__main__":
    README.write_text(replaced(README.read_text(encoding="utf-8")), encoding="utf-8")
    for name, text in pages().items():
        (ROOT / "docs" / name).write_text(text, encoding="utf-8")
