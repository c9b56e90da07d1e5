"""make demo: runs the steps of demo/steps.py. After Ctrl-C it ends with one line."""

import sys


def main() -> int:
    """Runs the demo and returns its exit status, 130 after Ctrl-C."""
    try:
        from demo import steps  # imported here, because importing torch takes a second in which Ctrl-C may come

        return steps.main()
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
