"""Plotly figures and pictures from tables; no computation.

Pictures of masks are kept with ``save("mask.svg")`` of the result.
A plotly figure is saved as PNG by the camera of its own toolbar, and as HTML by ``figure.write_html("figure.html")``.
With the extra ``pictures`` (kaleido, which needs Chrome or Chromium) ``figure.write_image("figure.svg")`` works, and
a notebook keeps a PNG beside each figure, so that it is seen in exported HTML too; that takes about three seconds a
figure.
"""
