"""The console command, and the Hydra application behind `harness train`.

In: command-line arguments. Out: exit codes and text. No other package imports this one.
"""
