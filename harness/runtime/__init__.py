"""The process and the machine: device, memory, threads, signals, imports, environment, secrets.

In: runtime settings. Out: a process ready for training. Knows nothing of data, models or records.
"""
