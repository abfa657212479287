"""`make bench`: the harness beside the tools its users could pick instead, each in a process of its own."""
