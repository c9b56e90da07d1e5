"""Detects instances on millions of images by Ray Data, and writes Parquet: python -m tensormask_server.bulk"""

import os

# Ray reads these when it is first imported: it sends no usage statistics, and logs only to its files
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
