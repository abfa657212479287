"""Sets of images.

In: folders, lists and Parquet files of images. Out: a table of their pixels and labels.
"""
