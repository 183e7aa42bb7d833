"""kdpipe: ask a large teacher once, train many small students from what it said, question the runs in SQL."""

__version__ = "0.1.0"
