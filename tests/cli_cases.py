"""What the tests of the command line share."""

from __future__ import annotations

import sys

import report_cases

from fidokit import cli


def run(capsys, *arguments):
    """Exit code, output and error output of a command line."""
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def working_folder(tmp_path, monkeypatch):
    """A working folder of its own, with six photographs in a table, and the methods of `report_cases`."""
    report_cases.register()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    report_cases.make_table(tmp_path / "photographs").to_csv(tmp_path / "birds.csv", index=False)
    return tmp_path
