"""Searches: intervals instead of lists, and trials instead of a grid.

In: the overrides of a sweep, and results so far. Out: the next configurations, and the search's records.
"""
