"""Which masks can be believed: the metrics, by family, and the tables that hold them."""
