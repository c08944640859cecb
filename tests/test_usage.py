import sys

import pytest

from lib.usage import usage

pytest.importorskip("resource")


@pytest.mark.slow
def test_time_and_memory_are_those_of_the_command_alone():
    held = bytearray(200 * 2**20)  # of this process; the command must not inherit it
    idle = usage(sys.executable, "-S", "-c", "pass")
    busy = usage(sys.executable, "-S", "-c", "x = bytearray(64 * 2**20)\nfor i in range(10**7): pass")
    # an interpreter needs about 10 MiB; 64 more were asked for
    assert len(held) and idle.peak < 60 and 60 < busy.peak - idle.peak < 75
    assert 0 < idle.seconds < busy.seconds


def test_children_count_and_lib_can_be_imported():
    child = "import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', 'x = bytearray(2**26)'], check=True)"
    assert usage(sys.executable, "-c", child).peak > 64
    usage(sys.executable, "-c", "import lib, os; assert os.environ['A'] == 'b'", env={"A": "b"})


def test_a_command_that_fails_says_how():
    with pytest.raises(RuntimeError, match=r"exit status 3: no luck"):
        usage(sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)")
    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        usage("/no/such/program")
    with pytest.raises(ValueError, match="got none"):
        usage()
