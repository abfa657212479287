"""A source, local or remote, becomes a table on disk, read as blocks of scaled rows.

In: `DataConfig`. Out: `Table` and `Blocks`. Knows neither models nor MLflow.
A file format is a `source.Source`, registered in `formats`.
"""
