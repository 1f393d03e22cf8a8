"""How a study is computed: the loop over chunks, one chunk, and Dask."""
