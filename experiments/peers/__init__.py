"""What a user could take instead of the harness, and the harness itself: each in a process of its own."""
