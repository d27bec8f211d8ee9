#!/usr/bin/env python3
"""Write docs/commands.md and docs/settings.md from the program's tables."""

from pathlib import Path

from dockercni.commands.manual.markdown import pages

DOCS = Path(__file__).parents[1] / "docs"

if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
