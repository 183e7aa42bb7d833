"""kdpipe: ask a large teacher once, train many small students from what it said, question the runs in SQL."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for one another. Where anything else runs on the machine, a spinning thread
# keeps the core from the one it waits for: measured, four times slower with one other busy process on two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
