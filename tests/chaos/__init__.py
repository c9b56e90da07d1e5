"""Faults and long runs with real processes, too long for the tests: make chaos, make soak."""
