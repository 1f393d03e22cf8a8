"""Which labels are wrong, which answers rest on the wrong thing, and which frames are empty."""

from fidokit.errors.labels.check import LabelCheck as LabelCheck
from fidokit.errors.labels.check import check_labels as check_labels
