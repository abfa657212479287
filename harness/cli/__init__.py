"""The console command, and the Hydra application behind `harness train`.

In: words. Out: exit codes and text. Nothing else imports this room.
"""
