"""Workers on the machines of a Dask cluster, each started by a task that holds its place there."""
