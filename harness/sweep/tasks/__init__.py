"""Sweeps whose runs several processes train: tasks, the workers that train them, and where workers run."""
