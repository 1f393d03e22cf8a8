"""Plotly figures and pictures from tables; no computation.

Pictures of masks are kept with ``save("mask.svg")`` of the result. A plotly figure is saved as PNG by the camera of its
own toolbar, and as HTML by ``figure.write_html("figure.html")``; ``figure.write_image("figure.svg")`` needs the package
kaleido.
"""
