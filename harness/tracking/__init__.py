"""The only package that uses MLflow: a write side (`tracker`) and a read side (`reader`).

In: names, numbers and files. Out: records in a store, and data frames. The two sides are independent of each other and
of training.
"""
