"""Millions of images through the network by Ray Data, into Parquet: python -m tensormask_server.bulk"""

import os

# Ray reads these when it is first imported: nothing is told to its makers, and what it logs stays in its log files
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
