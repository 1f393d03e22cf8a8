"""Masks over a dataset: the run, its store on disk, and what is read from it."""
