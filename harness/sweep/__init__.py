"""Turns configurations into recorded runs: plans, resumes, trains and records them.

In: `Config`. Out: `Run`, and its records through `tracking`. Independent of Hydra and the command line.
"""
