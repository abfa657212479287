"""The functions to time. Each takes a `Task` and returns an `Outcome`, and runs in a new process."""
