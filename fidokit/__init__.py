"""fidokit: causal masks for fine-grained image classifiers, in pandas tables.

The public names are imported at first use, so that ``import fidokit`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fidokit._util.lazy import lazy_names
from fidokit._version import __version__ as __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from fidokit import testbed as testbed
    from fidokit.data.geometry import Preprocessing as Preprocessing
    from fidokit.data.images import LabelledImages as LabelledImages
    from fidokit.enhance import GuidedSettings as GuidedSettings
    from fidokit.enhance import Improvement as Improvement
    from fidokit.enhance import MaskGuidedClassifier as MaskGuidedClassifier
    from fidokit.enhance import classify_with_masks as classify_with_masks
    from fidokit.errors import ErrorClusters as ErrorClusters
    from fidokit.errors import find_error_clusters as find_error_clusters
    from fidokit.errors.sites import SiteComparison as SiteComparison
    from fidokit.errors.sites import compare_sites as compare_sites
    from fidokit.exceptions import FidokitError as FidokitError
    from fidokit.methods import explain as explain
    from fidokit.methods import list_methods as list_methods
    from fidokit.methods import register_method as register_method
    from fidokit.methods.base import Masks as Masks
    from fidokit.methods.base import Method as Method
    from fidokit.methods.fido import FidoSettings as FidoSettings
    from fidokit.methods.gradient_settings import CamSettings as CamSettings
    from fidokit.methods.gradient_settings import IntegratedGradientsSettings as IntegratedGradientsSettings
    from fidokit.methods.gradient_settings import OcclusionSettings as OcclusionSettings
    from fidokit.methods.gradient_settings import SmoothGradSettings as SmoothGradSettings
    from fidokit.methods.individuals import Pairs as Pairs
    from fidokit.methods.individuals import explain_pair as explain_pair
    from fidokit.methods.individuals import rank_falls as rank_falls
    from fidokit.methods.perturbation_settings import ExtremalSettings as ExtremalSettings
    from fidokit.methods.perturbation_settings import RiseSettings as RiseSettings
    from fidokit.methods.regions import find_regions as find_regions
    from fidokit.models.classifier import Classifier as Classifier
    from fidokit.models.gallery import Gallery as Gallery
    from fidokit.models.taxonomy import Taxonomy as Taxonomy
    from fidokit.report.page import write_report as write_report
    from fidokit.study.compare import compare as compare
    from fidokit.study.run import open_study as open_study
    from fidokit.study.run import run_study as run_study
    from fidokit.study.study import Study as Study
    from fidokit.widgets import AnswerWidget as AnswerWidget
    from fidokit.widgets import CompareWidget as CompareWidget
    from fidokit.widgets import ErrorWidget as ErrorWidget
    from fidokit.widgets import ExplainWidget as ExplainWidget
    from fidokit.widgets import MaskOverlay as MaskOverlay

_HOMES = {
    "CamSettings": "methods.gradient_settings",
    "Classifier": "models.classifier",
    "ErrorClusters": "errors",
    "ExtremalSettings": "methods.perturbation_settings",
    "FidoSettings": "methods.fido",
    "FidokitError": "exceptions",
    "Gallery": "models.gallery",
    "GuidedSettings": "enhance",
    "Improvement": "enhance",
    "IntegratedGradientsSettings": "methods.gradient_settings",
    "LabelledImages": "data.images",
    "MaskGuidedClassifier": "enhance",
    "Masks": "methods.base",
    "Method": "methods.base",
    "OcclusionSettings": "methods.gradient_settings",
    "Pairs": "methods.individuals",
    "Preprocessing": "data.geometry",
    "RiseSettings": "methods.perturbation_settings",
    "SmoothGradSettings": "methods.gradient_settings",
    "SiteComparison": "errors.sites",
    "Study": "study.study",
    "Taxonomy": "models.taxonomy",
    "classify_with_masks": "enhance",
    "compare": "study.compare",
    "compare_sites": "errors.sites",
    "explain": "methods",
    "explain_pair": "methods.individuals",
    "find_error_clusters": "errors",
    "find_regions": "methods.regions",
    "list_methods": "methods",
    "open_study": "study.run",
    "rank_falls": "methods.individuals",
    "register_method": "methods",
    "run_study": "study.run",
    "write_report": "report.page",
}

#: They need an extra, so that ``from fidokit import *`` leaves them out.
_WIDGETS = ("AnswerWidget", "CompareWidget", "ErrorWidget", "ExplainWidget", "MaskOverlay")

__all__ = [*_HOMES, "testbed"]


__getattr__, __dir__ = lazy_names(__name__, _HOMES | dict.fromkeys(_WIDGETS, "widgets") | {"testbed": None})


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """``%load_ext fidokit``: adds the magic ``%fido``."""
    from fidokit.cli.magic import load

    load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """``%unload_ext fidokit``: takes it away again."""
    from fidokit.cli.magic import unload

    unload(ipython)
