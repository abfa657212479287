"""The process and the machine: device, memory, threads, signals, imports, environment, secrets.

In: runtime settings. Out: a process ready for training. Independent of data, models and records.
"""
