"""``python -m fidokit``: the command line where no ``fidokit`` is on the path."""

from fidokit.cli import main

raise SystemExit(main())
