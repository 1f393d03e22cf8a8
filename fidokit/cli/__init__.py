"""The ``fidokit`` command: the calls of the package from a shell. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from fidokit._util.wording import worded_by
from fidokit._version import __version__
from fidokit.cli import (
    checking,
    demo,
    errors,
    explaining,
    exporting,
    improving,
    lab,
    labels,
    listing,
    marks,
    planning,
    regions,
    reviewing,
    sites,
    studying,
)
from fidokit.cli.options import INTERRUPTED, options_of
from fidokit.cli.text import show_warning, tell
from fidokit.exceptions import FidokitError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; default those of the process.

    Returns:
        0; 1 if some photographs could not be explained; 2 after an error, printed as ``fidokit: message``; 130 after
        Ctrl-C, when it is said what is kept.
    """
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        # A class name that the terminal's encoding lacks must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    told = logging.getLogger("fidokit")
    told.setLevel(logging.INFO)
    told.handlers = [_Told()]
    with warnings.catch_warnings(), worded_by(options_of(arguments.parser)):
        warnings.showwarning = show_warning
        try:
            return int(arguments.run(arguments))
        except FidokitError as error:
            tell(f"fidokit: {error}")
            return 2
        except KeyboardInterrupt:
            tell(f"fidokit: stopped; {arguments.kept(arguments)}")
            return INTERRUPTED


class _Told(logging.Handler):
    """What a run says of itself as it goes on, on the error stream."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(f"fidokit: {record.getMessage()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fidokit", description="Causal masks for image classifiers: which pixels a decision rests on."
    )
    parser.add_argument("--version", action="version", version=f"fidokit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    modules = (
        demo,
        explaining,
        planning,
        studying,
        regions,
        checking,
        errors,
        marks,
        reviewing,
        labels,
        sites,
        improving,
        exporting,
        lab,
        listing,
    )
    for module in modules:
        module.add(commands)
    return parser
