"""Who looks: the classifier, its frozen copies, and what of its output is explained."""
