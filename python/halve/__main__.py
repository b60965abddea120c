"""`python -m halve` is the command `halve`."""

from halve.cli.main import program

if __name__ == "__main__":
    program()
