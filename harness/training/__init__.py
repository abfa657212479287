"""Trains lanes over blocks of rows and yields events.

In: `Lane`, `Blocks`. Out: events with plain arrays. Knows neither Hydra nor MLflow.
"""
