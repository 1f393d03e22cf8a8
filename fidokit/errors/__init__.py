"""Systematic errors: groups of images alike in what the classifier used, tested, and proved by changing pixels.

`find_error_clusters` begins here; see `ErrorClusters` for what it gives.
"""

from __future__ import annotations

from fidokit.errors.find import find_error_clusters as find_error_clusters
from fidokit.errors.result import ErrorClusters as ErrorClusters

__all__ = ["ErrorClusters", "find_error_clusters"]
