"""Detects instances on millions of images with Ray Data, and writes Parquet: python -m tensormask_server.bulk"""

import os

# Ray reads these when it is first imported. They turn off usage statistics and logs to the terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
