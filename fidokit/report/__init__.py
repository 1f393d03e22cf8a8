"""One HTML page that shows a study and opens offline."""
