"""`python -m halve` is the command `halve`."""

import sys

from halve.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
