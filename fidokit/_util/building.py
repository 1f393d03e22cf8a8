"""What setuptools asks when the package is built: the notebooks, which lie beside the package, go into it."""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_py import build_py

#: Beside the package in the repository, in it once it is installed.
FOLDER = "notebooks"


class BuildWithNotebooks(build_py):
    """Copies the repository's notebooks into the built package, and names them for the source distribution."""

    def run(self) -> None:
        super().run()
        # An editable install runs from the repository, where they are.
        if not self.editable_mode:
            for source, target in self._copies().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target, preserve_mode=False)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *self._copies()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._copies().values()]

    def _copies(self) -> dict[str, str]:
        """Where each notebook comes from and goes to."""
        place = Path(self.build_lib, "fidokit", FOLDER)
        return {str(path): str(place / path.name) for path in sorted(Path(FOLDER).glob("*.ipynb"))}
