"""Delimited text.

In: the bytes of a file in any dialect. Out: typed chunks of its rows, and errors that name file, line and column.
"""
