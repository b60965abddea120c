"""Casting: arrays in memory, and the payload of a model in files."""

from halve.cast.array import cast

__all__ = ["cast"]
