"""The only door to MLflow: a write side (`tracker`) and a read side (`reader`).

In: names, numbers and files. Out: records in a store, and data frames. The two sides know neither each other nor
training.
"""
