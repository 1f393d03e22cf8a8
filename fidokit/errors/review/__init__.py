"""Where to look first: photographs ranked by expected error, with reasons, batches and a stopping rule."""

from __future__ import annotations

from fidokit.errors.review.order import ReviewOrder as ReviewOrder
from fidokit.errors.review.order import review_order as review_order

__all__ = ["ReviewOrder", "review_order"]
