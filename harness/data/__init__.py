"""A source in, a table on disk, blocks of scaled rows out.

In: `DataConfig`. Out: `Table`, `Blocks`. Knows neither models nor MLflow.
"""
