"""Searches: intervals in place of lists, and trials in place of a grid.

In: the words of a sweep and results so far. Out: the next configurations, and how a search is recorded.
"""
