"""Every public function of lib refuses bad input by itself: runs `tests/refusals.py` in a plain interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_every_public_function_refuses_bad_input_with_a_value_error():
    command = [sys.executable, "-W", "error", "-m", "tests.refusals"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "functions refuse what they should" in done.stdout
