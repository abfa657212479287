"""A first look at data.

In: files of any kind. Out: their likely format, their columns, what could go wrong, and a command to train.
Error messages elsewhere use the same guesses.
"""
