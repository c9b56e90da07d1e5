"""The servers of tests/served, and the table of make attack."""

from tests.served.conftest import archive, case, predictor, server, weights

__all__ = ["archive", "case", "predictor", "server", "weights"]
