"""Configurations in, recorded runs out: plan, resume, train, record.

In: `Config`. Out: `Run`, and its records through `tracking`. Knows neither Hydra nor the command line.
"""
