"""What separates one class from another: marks that recur in contrastive masks, proved by changing pixels."""

from fidokit.errors.marks.key import IdentificationKey as IdentificationKey
from fidokit.errors.marks.key import identification_key as identification_key
from fidokit.errors.marks.pair import Separation as Separation
from fidokit.errors.marks.pair import separate as separate

__all__ = ["IdentificationKey", "Separation", "identification_key", "separate"]
