"""Pictures, tables, documents and media, each measured by a program of its own that prints its tables."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {"images": "benches/images/run", "tables": "benches/tables/run", "documents": "benches/documents"}


def measure(name, say):
    """The tables that the program of one part prints."""
    say(f"{COMMANDS[name]} takes some minutes")
    done = subprocess.run([ROOT / COMMANDS[name]], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()
