"""`make bench`: compares the harness with tools that users could choose instead, each in its own process."""
