"""Plotly figures and pictures from tables; no computation.

Pictures of masks are kept with ``save("mask.svg")`` of the result. A plotly figure is saved as PNG by the camera of its
own toolbar; ``figure.write_image("figure.svg")`` needs the package kaleido, ``figure.write_html("figure.html")`` nothing.
"""
