"""Plotly figures and pictures from tables; no computation."""
