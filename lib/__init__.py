"""Shared code of Executable Spaces: ground, numerics, models, methods and data (map in CONTRIBUTING.md)."""

__version__ = "0.1.0"
