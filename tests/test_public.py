from __future__ import annotations

import json
import subprocess
import sys

import pytest

import fidokit as fk
from fidokit import exceptions

NAMES = {
    "CamSettings", "Classifier", "ErrorClusters", "ExtremalSettings", "FidoSettings", "FidokitError",
    "Gallery", "GuidedSettings", "Improvement", "IntegratedGradientsSettings", "LabelledImages",
    "MaskGuidedClassifier", "Masks", "Method", "OcclusionSettings", "Pairs", "Preprocessing", "RiseSettings",
    "SiteComparison", "SmoothGradSettings", "Study", "Taxonomy", "classify_with_masks", "compare", "compare_sites",
    "explain", "explain_pair",
    "find_error_clusters",
    "find_regions", "list_methods", "open_study", "rank_falls", "register_method", "run_study", "testbed",
    "write_report",
}  # fmt: skip
HEAVY = {"torch", "numpy", "pandas", "PIL", "captum", "pyarrow", "plotly", "scipy", "sklearn", "tqdm"}


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_the_package_imports_nothing_heavy():
    loaded = json.loads(
        run("import json, sys, fidokit; fidokit.__version__; dir(fidokit); print(json.dumps([*sys.modules]))")
    )
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert {name for name in loaded if name.startswith("fidokit")} == {
        "fidokit",
        "fidokit._util",
        "fidokit._util.lazy",
        "fidokit._version",
    }


def test_an_error_class_costs_nothing_either():
    loaded = json.loads(run("import json, sys; from fidokit import FidokitError; print(json.dumps([*sys.modules]))"))
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()


def test_a_classifier_does_without_captum_and_plotly():
    code = "import json, sys, fidokit as fk; fk.Classifier, fk.explain; print(json.dumps([*sys.modules]))"
    loaded = {name.partition(".")[0] for name in json.loads(run(code))}
    assert "torch" in loaded
    assert loaded & {"captum", "plotly", "timm", "torchvision", "transformers"} == set()


def test_the_public_names():
    assert set(fk.__all__) == NAMES
    for name in NAMES:
        assert getattr(fk, name).__name__.removeprefix("fidokit.") == name
        assert getattr(fk, name).__doc__
    assert set(dir(fk)) >= NAMES
    assert "explain" in vars(fk)  # kept after the first use
    namespace: dict[str, object] = {}
    exec("from fidokit import *", namespace)
    assert set(namespace) >= NAMES


def test_widgets_are_there_with_their_extra():
    pytest.importorskip("anywidget", reason="needs the extra `widgets`")
    assert set(dir(fk)) >= {"ExplainWidget", "MaskOverlay"}
    assert fk.ExplainWidget.__doc__
    assert fk.MaskOverlay.__doc__


def test_without_their_extra_widgets_name_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fidokit.widgets.")]:
        monkeypatch.delitem(sys.modules, name)
    for module in (fk, sys.modules.get("fidokit.widgets")):
        monkeypatch.delattr(module, "MaskOverlay", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(fk.FidokitError, match=r"fidokit\[widgets\]"):
        _ = fk.MaskOverlay


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'fidokit' has no attribute 'explian'"):
        _ = fk.explian
    with pytest.raises(ImportError):
        exec("from fidokit import nothing")
    assert not hasattr(fk, "torch")


def test_the_version_is_a_version():
    parts = fk.__version__.split(".")
    assert len(parts) == 3
    assert all(part.isdigit() for part in parts)


def test_every_error_of_our_own_is_a_fidokit_error():
    errors = [e for e in vars(exceptions).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(errors) > 5
    assert all(issubclass(error, fk.FidokitError) and error.__doc__ for error in errors)
    assert issubclass(exceptions.SettingsError, ValueError)
    assert issubclass(exceptions.MissingExtra, ImportError)
    assert "pip install 'fidokit[timm]'" in str(exceptions.MissingExtra("timm", "timm"))
