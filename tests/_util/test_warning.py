from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from nets import conv_net

import fidokit as fk
from fidokit._util import warning
from fidokit._util.ambient import unaffected
from fidokit._util.warning import warn


def told(act) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return caught


@pytest.mark.parametrize("around", [lambda act: act, unaffected(), torch.no_grad(), unaffected(gradients=False)])
def test_the_line_is_the_users_whatever_stands_around_the_call(around):
    (one,) = told(around(lambda: warn("look here")))
    assert (one.filename, one.category, str(one.message)) == (__file__, RuntimeWarning, "look here")


def test_so_it_is_from_deep_in_the_package(tmp_path):
    folder = tmp_path / "birds" / "owl"
    folder.mkdir(parents=True)
    (folder / "one.heic").touch()
    (folder / "one.png").touch()
    caught = told(lambda: fk.LabelledImages.from_folder(tmp_path / "birds"))
    caught += told(lambda: fk.Classifier(torch.nn.Sequential(conv_net(), torch.nn.Sigmoid()), size=(32, 32)))
    assert len(caught) >= 2
    assert {one.filename for one in caught} == {__file__}


def test_where_all_is_the_packages_own_it_is_the_outermost_line():
    code = compile("def act():\n    warn('no user')\n", str(Path(warning.__file__).parents[1] / "made_up.py"), "exec")
    names = {"warn": warn}
    exec(code, names)
    (one,) = told(names["act"])
    assert one.filename == __file__
