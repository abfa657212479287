"""Turns a local or remote source into a table on disk, and reads the table as blocks of scaled rows.

In: `DataConfig`. Out: `Table` and `Blocks`. Independent of models and MLflow.
File formats are subclasses of `source.Source`, registered in `formats`.
"""
