"""Sweeps with several workers: tasks, the workers that train them, and the clusters on which workers run."""
