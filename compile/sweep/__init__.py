"""Many builds from one file: which ones, each in a process of its own, here or on a Dask cluster."""
