"""A study on disk: Parquet parts, the manifest, the lock, and the check of all of it."""
