"""What is timed. Each function takes a `Task` and returns an `Outcome`; `child` runs it in a new process."""
