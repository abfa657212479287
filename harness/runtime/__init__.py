"""The process and the machine: device, memory, threads, signals, imports, secrets.

In: runtime settings. Out: a process set up for training. Knows nothing of data, models or records.
"""
