"""`make bench`: compares the harness with tools its users could choose instead, each in its own process."""
