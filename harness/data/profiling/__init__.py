"""A first look at data.

In: files of any kind. Out: how they seem to be written, their columns, what could go wrong, and a command to train.
Refusals elsewhere use the same guesses.
"""
