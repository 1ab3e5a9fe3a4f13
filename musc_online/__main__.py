"""`musc-online`, and `python -m musc_online`: all commands."""

import importlib

from musc_online.installed import refuse_clash


def main() -> None:
    """Run the command line of `bench.cli`.

    Raises:
        SystemExit: always, with the command's status; 2 where `bench` or `streamer` is another's.
    """
    refuse_clash()
    # By name: imports flow from `bench` to here, and this one module may be imported where `bench` is
    # another's.
    importlib.import_module("bench.cli").main()


if __name__ == "__main__":
    main()
