"""What is printed before training."""

from __future__ import annotations

import pytest

from harness.cli.startup import Startup


def test_only_the_first_start_of_a_command_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    startup = Startup()
    for _ in range(2):  # The batches of a search.
        startup.phase("loading TensorFlow")
        startup.end()
    assert capsys.readouterr().out == "start:  loading TensorFlow\n"
