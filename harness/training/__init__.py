"""Trains lanes over blocks of rows and yields events.

In: `Lane`, `Blocks`. Out: events with plain arrays. Independent of Hydra and MLflow.
"""
