"""What separates one class from another: marks that recur in contrastive masks, proved by changing pixels."""

from fidokit.errors.marks.separate import Separation as Separation
from fidokit.errors.marks.separate import separate as separate

__all__ = ["Separation", "separate"]
