"""Property-based tests draw the same examples on every machine and know no deadline: CI has two busy cores."""

from hypothesis import settings

settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")
