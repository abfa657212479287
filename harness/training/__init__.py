"""Lanes and blocks in, events out: the shared chunked trainer.

In: `Lane`, `Blocks`. Out: events with plain arrays. Knows neither Hydra nor MLflow.
"""
