"""From a dataset as it was published to the table that `LabelledImages` wraps; one module a layout.

What would make a label wrong or the table ambiguous is an error that names file and line: a required file that is
missing or no UTF-8, an id that stands there twice, an unknown class, a path that leads out of the dataset. What costs a
single annotation does not cost the table: a box that is no box, a box without area, a part point that is no point, an
annotation of a photograph that is not listed, a photograph that cannot be used. These are left out, counted, and told
in one warning, with what was taken for what where that could be otherwise. Boxes that reach beyond their photograph are
kept as they are, unless they show that a dataset was resized and its annotations were not. Headers of photographs are
read when the photographs are opened, apart from a few that tell early whether the boxes are in their scale.
"""
