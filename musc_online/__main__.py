"""`musc-online`, and `python -m musc_online`: all commands."""

import importlib


def main() -> None:
    """Run the command line of `bench.cli`."""
    # By name: imports flow from `bench` to here, and this one module may be imported where `bench` is another's.
    importlib.import_module("bench.cli").main()


if __name__ == "__main__":
    main()
