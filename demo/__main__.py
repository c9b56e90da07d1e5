"""make demo: the steps of demo/steps.py; Ctrl-C ends them in one line."""

import sys


def main() -> int:
    """Runs the demo and returns its exit status, 130 after Ctrl-C."""
    try:
        from demo import steps  # only here: importing torch takes a second, and Ctrl-C may come

        return steps.main()
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
