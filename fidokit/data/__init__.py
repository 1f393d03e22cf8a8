"""Photographs in: files, labels, boxes and where they lie in the classifier's input."""
