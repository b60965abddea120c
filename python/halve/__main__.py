"""`python -m halve` is the command `halve`."""

import sys

from halve.cli.main import program

if __name__ == "__main__":
    sys.exit(program())
