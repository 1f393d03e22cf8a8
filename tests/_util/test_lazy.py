import subprocess
import sys

import pytest

import fidokit as fk
from fidokit import enhance, testbed, widgets


@pytest.mark.parametrize("package", [fk, enhance, testbed, widgets])
def test_names_are_there_listed_and_kept(package):
    for name in package.__all__:
        assert name in dir(package)
        assert getattr(package, name) is getattr(package, name)
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing


def test_nothing_is_imported_before_its_first_use():
    program = (
        "import sys, fidokit; assert 'testbed' in dir(fidokit)\n"
        "import fidokit.enhance, fidokit.testbed, fidokit.widgets\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert {'MaskOverlay', 'explain', 'load_ipython_extension'} <= set(dir(fidokit))\n"
        "fidokit.FidokitError\n"
        "assert 'FidokitError' in vars(fidokit) and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
