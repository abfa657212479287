"""The only door to MLflow: a write side (`tracker`) and a read side (`reader`).

In: names, numbers, files. Out: records in a store, and data frames. The two sides do not know each other, nor training.
"""
