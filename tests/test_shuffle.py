"""lib.shuffle: every line kept, every order equally likely, memory bounded, nothing lost when things go wrong."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from lib.shuffle import merge, scatter, shuffle_files, sources, steps
from lib.shuffle.__main__ import Bar
from lib.shuffle.author import columns_then_rows
from lib.shuffle.scatter import bucket_count
from lib.shuffle.sink import Sink
from lib.shuffle.steps import Room, parse_size, resident, show_size
from lib.shuffle.target import Target, held

ROOT = Path(__file__).parents[1]
WIDE = {"memory": "64M", "whole_process": False}  # pytest itself is larger than any budget worth testing
METHODS = ("scatter", "merge")


@pytest.fixture(autouse=True)
def _interruptible():
    """Processes started in the background by a shell ignore SIGINT, and so would everything that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def lines_of(*texts: bytes) -> list[bytes]:
    """The lines of several files, a last newline supplied."""
    return [
        line
        for text in texts
        for line in (text if text.endswith(b"\n") or not text else text + b"\n").split(b"\n")[:-1]
    ]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "lib.shuffle", *map(str, arguments)]


def run(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, cwd=ROOT, check=False, **options)


def error(*arguments: object, **options) -> str:
    """What a failing command says: one line, exit status 1."""
    done = run(*arguments, **options)
    text = done.stderr.decode()
    assert done.returncode == 1 and text.startswith("shuffle: ") and text.count("\n") == 1, (done.returncode, text)
    return text


def big(path: Path, lines: int, seed: int = 0) -> Path:
    """A file of lines of 20 to 180 bytes, each with its number."""
    lengths = np.random.default_rng(seed).integers(12, 172, lines)
    path.write_bytes(b"".join(b"%07d" % i + b"x" * n + b"\n" for i, n in enumerate(lengths.tolist())))
    return path


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # runs in processes of their own keep it


@pytest.fixture
def tiny_rooms(monkeypatch):
    """Blocks of 7 bytes and buckets of 200: everything happens that otherwise takes gigabytes."""
    monkeypatch.setattr(Room, "within", staticmethod(lambda budget, taken: Room(block=7, bucket=200)))
    monkeypatch.setattr(scatter, "TARGET", 150)


@pytest.mark.slow
@settings(max_examples=8)
@given(
    texts=st.lists(
        st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\0", b"\xff\xfe", b"bc" * 30])).map(b"".join),
        min_size=1,
        max_size=4,
    ),
    buckets=st.sampled_from([None, 1, 2, 40]),
    block=st.integers(1, 40),
)
def test_any_bytes_come_out_as_the_same_multiset_of_lines(tmp_path_factory, texts, buckets, block):
    folder = tmp_path_factory.mktemp("any")
    paths = [folder / str(i) for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        room = Room(block=block, bucket=2**20 if buckets else 200)
        patch.setattr(Room, "within", staticmethod(lambda budget, taken: room))
        stats = shuffle_files(paths, folder / "out", seed=block, buckets=buckets)
    assert Counter((folder / "out").read_bytes().split(b"\n")[:-1]) == Counter(lines_of(*texts))
    assert stats.lines == len(lines_of(*texts))
    assert stats.newlines_added == sum(bool(text) and not text.endswith(b"\n") for text in texts)
    assert {path.name for path in folder.iterdir()} == {*(path.name for path in paths), "out"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "text", [b"", b"\n", b"\n\n\n", b"a", b"a\r\nb\r\n", b"a" * 10_000_000 + b"\nb\n", b"\0\n\xff"]
)
def test_edges(tmp_path, method, text):
    (tmp_path / "in").write_bytes(text)
    stats = shuffle_files([tmp_path / "in"], tmp_path / "out", method=method, **WIDE)
    assert sorted(lines_of((tmp_path / "out").read_bytes())) == sorted(lines_of(text))
    assert stats.bytes == (tmp_path / "out").stat().st_size


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(2))
def test_blocks_and_buckets_far_too_small_lose_nothing(tmp_path, monkeypatch, method, seed):
    room = Room(block=4096, bucket=4 * steps.SLICE + 40_000)
    if method == "scatter":
        room = Room(block=4096, bucket=3000)
    monkeypatch.setattr(Room, "within", staticmethod(lambda budget, taken: room))
    rng = random.Random(seed)
    lines = [b"%d" % i + b"y" * int(rng.paretovariate(0.7) * 9 % 20_000) for i in range(300)]
    (tmp_path / "in").write_bytes(b"\n".join(lines) + b"\n")
    stats = shuffle_files([tmp_path / "in"], tmp_path / "out", seed=seed, method=method)
    found = (tmp_path / "out").read_bytes().split(b"\n")[:-1]
    assert sorted(found) == sorted(lines) and found != lines and stats.buckets > 2


def test_long_lines_of_a_merge_are_copied_in_pieces(tmp_path):
    lines = [bytes([97 + i]) * (6 << 20) for i in range(3)] + [b"%d" % i for i in range(1000)]
    (tmp_path / "in").write_bytes(b"\n".join(lines) + b"\n")
    shuffle_files([tmp_path / "in"], tmp_path / "out", method="merge", memory="90M", whole_process=False)
    assert sorted((tmp_path / "out").read_bytes().split(b"\n")[:-1]) == sorted(lines)


class Shelf(Sink):
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.text = b""

    def begin(self, lines: int, header: bytes | None = None) -> None:
        assert lines == 4

    def write(self, view) -> None:
        self.text += bytes(view)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["scatter", "overflow", "merge"])
def test_all_orders_of_four_lines_are_equally_likely(tmp_path, case):
    lines = [b"0\n", b"1xxxxxxxxxxxx\n", b"2xxxxxxxxxxxx\n", b"3\n"]
    (tmp_path / "in").write_bytes(b"".join(lines))
    # Overflow: two of the lines do not fit into one bucket together. Merge: runs of three lines and one.
    bucket = {"scatter": 2**20, "overflow": 46, "merge": 4 * steps.SLICE + 4 * 24 * 4}[case]
    inner = merge.merge if case == "merge" else scatter.scatter
    draws, seen = 192, Counter()
    for seed in range(draws):
        source, shelf = sources.Sources([tmp_path / "in"]), Shelf()
        room, buckets = Room(block=4096, bucket=bucket), 2 if case == "scatter" else None
        inner(source, shelf, seed, room, tmp_path, buckets, lambda done: None)
        seen[shelf.text] += 1
    counts = [seen[b"".join(order)] for order in permutations(lines)]
    assert sum(counts) == draws  # 8 draws an order; the seeds are fixed, so this never flickers
    assert chi2.sf(sum((count - 8) ** 2 / 8 for count in counts), 23) > 1e-4


def test_the_posts_own_scheme_fails_the_same_test(tmp_path):
    source, seen = tmp_path / "in", Counter()
    source.write_bytes(b"0\n1\n2\n3\n")
    for seed in range(300):
        columns_then_rows(source, tmp_path / "out", lines_per_file=2, seed=seed)
        seen[(tmp_path / "out").read_bytes()] += 1
    assert len(seen) == 16  # of 24: (2!)^2 (2!)^2


@pytest.mark.parametrize("options", [{"buckets": 40}, {"method": "merge"}], ids=["scatter", "merge"])
def test_every_position_is_reached_from_every_place(tmp_path, options):
    path = big(tmp_path / "in", 20_000)
    shuffle_files([path], tmp_path / "out", **WIDE, **options)
    found = np.array([int(line[:7]) for line in (tmp_path / "out").read_bytes().split(b"\n")[:-1]])
    table = np.histogram2d(np.arange(20_000), found, bins=10)[0]
    assert chi2.sf(((table - 200) ** 2 / 200).sum(), 81) > 1e-4
    neighbours = np.mean(np.diff(found) == 1)
    assert neighbours < 5e-4  # expected 1/20000 in a uniform order, 1 in the input


def test_with_a_fixed_number_of_buckets_the_order_depends_on_the_seed_and_the_number_of_lines_alone(tmp_path):
    source, target = big(tmp_path / "source", 3000), tmp_path / "target"
    target.write_bytes(b"".join(b"%d\n" % i for i in range(3000)))
    found = []
    for i, (path, memory) in enumerate([(source, "40M"), (source, "400M"), (target, "40M")]):
        shuffle_files([path], tmp_path / f"out{i}", memory=memory, whole_process=False, seed=7, buckets=9)
        found.append([int(line[:7]) for line in (tmp_path / f"out{i}").read_bytes().split(b"\n")[:-1]])
    assert found[0] == found[1] == found[2] != sorted(found[0])
    shuffle_files([source], tmp_path / "other", seed=8, buckets=9, **WIDE)
    assert (tmp_path / "other").read_bytes() != (tmp_path / "out0").read_bytes()


def test_a_fixed_number_of_buckets_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path, tiny_rooms):
    path = big(tmp_path / "in", 20)
    with pytest.raises(ValueError, match="give more buckets"):
        shuffle_files([path], tmp_path / "out", buckets=2)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_headers_stay_on_top_and_must_agree(tmp_path):
    for name, text in {
        "a": b"h1\nh2\n1\n2\n",
        "b": b"h1\nh2\n3",
        "empty": b"",
        "c": b"h1\nHH\n3\n",
        "short": b"h1\n",
    }.items():
        (tmp_path / name).write_bytes(text)
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "empty"]
    stats = shuffle_files(paths, tmp_path / "out", header=2, **WIDE)
    head, rest = (tmp_path / "out").read_bytes()[:6], (tmp_path / "out").read_bytes()[6:]
    assert head == b"h1\nh2\n" and sorted(rest.split()) == [b"1", b"2", b"3"] and stats.lines == 3
    with pytest.raises(ValueError, match="another one in"):
        shuffle_files([*paths, tmp_path / "c"], tmp_path / "new", header=2, **WIDE)
    with pytest.raises(ValueError, match="expected 2 header lines, got 1"):
        shuffle_files([tmp_path / "short"], tmp_path / "new", header=2, **WIDE)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"parts": 3}, [33, 33, 34]),
        ({"split_lines": 40}, [40, 40, 20]),
        ({"split_lines": 50}, [50, 50]),
        ({"parts": 120}, None),
    ],
)
def test_numbered_parts_hold_all_lines_once_and_each_has_the_header(tmp_path, options, sizes):
    (tmp_path / "in.csv").write_bytes(b"head\n" + b"".join(b"%d\n" % i for i in range(100)))
    stats = shuffle_files([tmp_path / "in.csv"], tmp_path / "out.csv", header=1, **options, **WIDE)
    texts = [path.read_bytes() for path in stats.outputs]
    count = len(stats.outputs)
    assert stats.outputs[0].name == f"out-00001-of-{count:05d}.csv" and not (tmp_path / "out.csv").exists()
    assert all(text.startswith(b"head\n") for text in texts)
    found = [text.split(b"\n")[1:-1] for text in texts]
    assert sorted(int(line) for part in found for line in part) == list(range(100))
    assert sizes is None or [len(part) for part in found] == sizes
    with pytest.raises(FileExistsError):
        shuffle_files([tmp_path / "in.csv"], tmp_path / "out.csv", header=1, **options, **WIDE)


def test_thousands_of_inputs_need_few_descriptors(tmp_path):
    for i in range(600):
        (tmp_path / f"{i:04d}").write_bytes(b"%d\n" % i)
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96)); "
    script += "from lib.shuffle.__main__ import main; sys.exit(main())"
    arguments = [*sorted(tmp_path.iterdir()), "-q", "-o", tmp_path / "out"]
    subprocess.run([sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, check=True)
    assert sorted(int(line) for line in (tmp_path / "out").read_bytes().split()) == list(range(600))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_resident_memory_stays_below_the_budget(tmp_path, method):
    path = big(tmp_path / "in", 450_000)
    again = [path] * 4  # 200 MB, more than the budget
    done = run(*again, "-o", tmp_path / "out", "--memory", "160M", "--json", "-q", "--method", method)
    found = json.loads(done.stdout)
    assert found["lines"] == 1_800_000 and found["peak_rss"] <= 160 << 20, show_size(found["peak_rss"])
    assert (tmp_path / "out").stat().st_size == 4 * path.stat().st_size


def test_the_standard_input_is_read_and_a_summary_given(tmp_path):
    done = run("-", "-o", tmp_path / "out", input=b"a\nb\nc")
    assert done.returncode == 0 and sorted((tmp_path / "out").read_bytes().split()) == [b"a", b"b", b"c"]
    assert b"1 input(s) ended without a newline; added" in done.stderr and b"3 lines" in done.stderr
    assert b"\r" not in done.stderr  # no progress bar where no terminal is


def test_a_budget_too_small_is_refused_with_what_it_would_take(tmp_path):
    (tmp_path / "in").write_bytes(b"a\n")
    assert "expected a memory budget of at least" in error(tmp_path / "in", "-o", tmp_path / "out", "-m", "50M")


def test_refusals_leave_the_files_as_they_were(tmp_path):
    source, other = tmp_path / "in", tmp_path / "old"
    source.write_bytes(b"a\nb\n")
    other.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "hard")
    call = {"inputs": [source], "output": tmp_path / "out", **WIDE}
    for change, kind, words in [
        ({"output": other}, FileExistsError, "exists"),
        ({"output": source, "force": True}, ValueError, "is no input"),
        ({"output": tmp_path / "link", "force": True}, ValueError, "is no input"),
        ({"output": tmp_path / "hard", "force": True}, ValueError, "is no input"),
        ({"output": tmp_path, "force": True}, ValueError, "plain file"),
        ({"output": tmp_path / "no" / "out"}, FileNotFoundError, "folder of the output"),
        ({"inputs": [tmp_path / "no"]}, FileNotFoundError, "No such file"),
        ({"inputs": [tmp_path]}, IsADirectoryError, "folder"),
        ({"inputs": []}, ValueError, "non-empty"),
        ({"inputs": str(source)}, ValueError, "non-empty"),
        ({"inputs": ["-", "-"]}, ValueError, "at most once"),
        ({"tmpdir": tmp_path / "no"}, ValueError, "temporary"),
        ({"method": "post"}, ValueError, "'post'"),
        ({"method": "merge", "buckets": 3}, ValueError, "buckets=3"),
        ({"parts": 2, "split_lines": 2}, ValueError, "both"),
        ({"buckets": 10**6}, ValueError, "at most"),
        ({"memory": "lots"}, ValueError, "'lots'"),
        ({"memory": "9" * 400}, ValueError, "8 EiB"),
        ({"output": "-"}, ValueError, "got -"),
        ({"output": f"{tmp_path}/new/"}, ValueError, "plain file"),
        ({"output": "/dev/null", "force": True}, ValueError, "plain file"),
        ({"parts": 10**9}, ValueError, "at most"),
        ({"seed": -1}, ValueError, "seed"),
        ({"header": 3}, ValueError, "3 header lines, got 2"),
    ]:  # fmt: skip
        with pytest.raises(kind, match=words):
            shuffle_files(**{**call, **change})
    assert source.read_bytes() == b"a\nb\n" and other.read_bytes() == b"precious"
    assert {path.name for path in tmp_path.iterdir()} == {"in", "old", "link", "hard"}
    shuffle_files(**{**call, "output": other, "force": True})
    assert sorted(other.read_bytes().split()) == [b"a", b"b"]


def test_an_output_that_is_a_link_is_written_where_it_points_to_with_the_mode_of_the_old_file(tmp_path):
    (tmp_path / "in").write_bytes(b"a\n")
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    shuffle_files([tmp_path / "in"], tmp_path / "link", force=True, **WIDE)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"a\n"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_input_is_named(tmp_path):
    (tmp_path / "in").write_bytes(b"a\n")
    (tmp_path / "in").chmod(0)
    with pytest.raises(PermissionError, match="in"):
        shuffle_files([tmp_path / "in"], tmp_path / "out", **WIDE)


@pytest.mark.parametrize("what", ["vanish", "grow", "same size", "shrink"])
def test_inputs_that_change_under_the_hands_of_the_shuffle_are_noticed(tmp_path, monkeypatch, what):
    first, second = big(tmp_path / "1", 100), big(tmp_path / "2", 100)
    blocks = sources.Sources.blocks

    def meddling(self, buffer):
        for i, block in enumerate(blocks(self, buffer[:4096])):
            yield block
            if i == 0 and what == "vanish":
                second.unlink()
            elif i == 0:
                size = {"grow": 40_000, "same size": second.stat().st_size, "shrink": 5}[what]
                second.write_bytes(b"z" * size)

    monkeypatch.setattr(sources.Sources, "blocks", meddling)
    with pytest.raises(OSError, match="No such file" if what == "vanish" else "changed"):
        shuffle_files([first, second], tmp_path / "out", **WIDE)
    assert {path.name for path in tmp_path.iterdir()} <= {"1", "2"}


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(tmp_path):
    path = big(tmp_path / "in", 20_000)

    def limited():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    assert "while writing temporary files" in error(path, "-o", tmp_path / "out", preexec_fn=limited)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_full_disk_under_the_output_keeps_the_old_output(tmp_path, monkeypatch):
    path, out = big(tmp_path / "in", 2000), tmp_path / "out"
    out.write_bytes(b"precious")

    def full(fd, view):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.shuffle.sink.write_all", full)
    with pytest.raises(OSError, match="No space left on device while writing the output"):
        shuffle_files([path], out, force=True, **WIDE)
    assert out.read_bytes() == b"precious" and {p.name for p in tmp_path.iterdir()} == {"in", "out"}


def ended_by(number: int, folder: Path, out: Path, before=None) -> int:
    """The exit status of a run that gets a signal while it waits for more of its input."""
    options = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, "preexec_fn": before}
    with subprocess.Popen(command("-", "-o", out, "-f", "--buckets", 3), **options) as child:
        child.stdin.write(b"line\n" * 100_000)
        child.stdin.flush()
        waited = time.monotonic()
        begun = lambda name: name.startswith(str(folder)) and not name.endswith("/lock")  # noqa: E731
        while not any(begun(str(fd.readlink())) for fd in Path(f"/proc/{child.pid}/fd").iterdir()):
            assert time.monotonic() - waited < 20
            time.sleep(0.02)
        child.send_signal(number)
        if before is None:
            child.wait(20)
        child.stdin.close()
        return child.wait(20)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc to see that the run has begun")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_leaves_the_old_output_and_no_temporary_files(tmp_path, number):
    out = tmp_path / "out"
    out.write_bytes(b"precious")
    status = ended_by(number, tmp_path, out)
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} - {"out"}
    assert out.read_bytes() == b"precious"
    hidden = ".out.shuffle-unfinished"
    assert left == ({hidden, f"{hidden}/lock"} if number == signal.SIGKILL else set())


def test_killed_while_it_wrote_the_output_it_leaves_a_hidden_file_that_the_next_run_removes(tmp_path):
    path, out = big(tmp_path / "in", 2000), tmp_path / "out"
    script = f"""
import os, signal
from lib.shuffle import shuffle_files, sink
write = sink.Sink.write
sink.Sink.write = lambda self, view: (write(self, view), os.kill(os.getpid(), signal.SIGKILL))
shuffle_files([{str(path)!r}], {str(out)!r})
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    left = {p.name for p in tmp_path.iterdir()} - {"in"}
    assert left == {".out.shuffle-unfinished"} and any((tmp_path / left.pop()).iterdir())
    shuffle_files([path], out, **WIDE)
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}


def test_an_output_that_appears_during_the_run_is_not_overwritten(tmp_path):
    path, out = big(tmp_path / "in", 2000), tmp_path / "out"
    with pytest.raises(FileExistsError):
        shuffle_files([path], out, progress=lambda done, total: out.write_bytes(b"precious"), **WIDE)
    assert out.read_bytes() == b"precious"


def test_two_runs_for_one_output_are_not_allowed_at_a_time(tmp_path):
    (tmp_path / "in").write_bytes(b"a\n")
    with Target(tmp_path / "out", inputs={}) as first:
        first.claim()
        with pytest.raises(FileExistsError, match="another run"):
            shuffle_files([tmp_path / "in"], tmp_path / "out", **WIDE)
    shuffle_files([tmp_path / "in"], tmp_path / "out", **WIDE)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_a_set_of_parts_replaces_one_of_another_number_and_spares_inputs(tmp_path):
    path = big(tmp_path / "in.txt", 10)
    for count in (3, 2):
        shuffle_files([path], tmp_path / "out.txt", parts=count, force=True, **WIDE)
    names = {f"out-0000{i}-of-00002.txt" for i in (1, 2)}
    assert {path.name for path in tmp_path.iterdir()} == {"in.txt", *names}
    with pytest.raises(FileExistsError):
        shuffle_files([path], tmp_path / "out.txt", split_lines=1, **WIDE)
    with pytest.raises(ValueError, match="no input"):
        shuffle_files([tmp_path / min(names)], tmp_path / "out.txt", parts=3, force=True, **WIDE)


def test_killed_while_the_parts_get_their_names_it_leaves_a_set_without_its_last_part(tmp_path):
    path, out = big(tmp_path / "in", 100), tmp_path / "out"
    shuffle_files([path], out, parts=3, **WIDE)
    script = f"""
import os, signal
from lib.shuffle import shuffle_files, target
appear = target._appear
target._appear = lambda *a, **b: (appear(*a, **b), os.kill(os.getpid(), signal.SIGKILL))
shuffle_files([{str(path)!r}], {str(out)!r}, parts=3, force=True)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    assert [p.name for p in tmp_path.glob("out*")] == ["out-00001-of-00003"]
    shuffle_files([path], out, parts=3, force=True, **WIDE)
    assert len(list(tmp_path.iterdir())) == 4 and len(list(tmp_path.glob("out-0000?-of-00003"))) == 3


def test_a_signal_waits_until_names_are_given():
    seen = []
    with pytest.raises(KeyboardInterrupt), held():
        os.kill(os.getpid(), signal.SIGINT)
        seen.append("named")
    assert seen == ["named"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_disk_that_is_too_small_is_noticed_beforehand(tmp_path, monkeypatch):
    path = big(tmp_path / "in", 100)
    size = path.stat().st_size
    for free, method, enough in [(2 * size, "scatter", True), (2 * size - 1, "merge", False)]:
        monkeypatch.setattr("shutil.disk_usage", lambda place, free=free: type("Usage", (), {"free": free}))
        (tmp_path / "out").unlink(missing_ok=True)
        if not enough:
            with pytest.raises(OSError, match="free disk space"):
                shuffle_files([path], tmp_path / "out", method=method, **WIDE)
        shuffle_files([path], tmp_path / "out", method=method, space_check=enough, **WIDE)


def test_what_memory_the_process_happens_to_have_does_not_change_the_order():
    assert Room.within(256 << 20, 100 << 20) == Room.within(256 << 20, 104 << 20)


def test_closed_standard_streams_are_no_trouble(tmp_path):
    (tmp_path / "in").write_bytes(b"a\n")
    tool = f"{sys.executable} -W error -m lib.shuffle"
    done = subprocess.run(["sh", "-c", f"{tool} - -o {tmp_path}/1 <&-"], capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"closed" in done.stderr
    script = f"{tool} {tmp_path}/in -o {tmp_path}/2 --json 2>&- | true"
    assert subprocess.run(["sh", "-c", script], capture_output=True, cwd=ROOT, check=False).stderr == b""
    assert (tmp_path / "2").read_bytes() == b"a\n"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc to see that the run has begun")
def test_under_nohup_a_run_survives_the_terminal(tmp_path):
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    assert ended_by(signal.SIGHUP, tmp_path, tmp_path / "out", before=ignore) == 0
    assert (tmp_path / "out").read_bytes() == b"line\n" * 100_000


def test_the_bar_says_how_far_it_is_where_that_is_known():
    stream = io.StringIO()
    for total, words in ((0, "1.0 MB"), (4_000_000, "50%  1.0 MB")):
        bar = Bar(stream)
        bar(2_000_000, total)
        assert words in stream.getvalue()
        bar.clear()
    assert stream.getvalue().endswith(" \r")


def test_progress_goes_up_to_the_total(tmp_path):
    seen = []
    shuffle_files([big(tmp_path / "in", 5000)], tmp_path / "out", progress=lambda *at: seen.append(at), **WIDE)
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1] == 2 * (tmp_path / "in").stat().st_size


def test_sizes_are_read_as_people_write_them():
    assert [parse_size(s) for s in (5, "5", "2K", "2KiB", "2KB", "1.5M", "1g")] == [
        5,
        5,
        2048,
        2048,
        2000,
        3 << 19,
        1 << 30,
    ]
    for bad in ("", "M", "-1", "0", "5X", "1 2", "1IB"):
        with pytest.raises(ValueError, match="got"):
            parse_size(bad)
    assert show_size(734) == "734 B" and show_size(3 << 19) == "1.5 MiB"
    assert 0 < resident() <= resident(peak=True) * 1.01


def test_the_bucket_bound_holds_mean_and_six_standard_deviations():
    size, room, spread = 10**11, 3 * 10**8, 512.0
    mean = size / bucket_count(size, room)
    assert mean + 6 * np.sqrt(mean * spread) <= room < 1.1 * (mean + 6 * np.sqrt(mean * spread))


@pytest.mark.slow
def test_dask_moves_the_lines_between_two_worker_processes(tmp_path):
    for i in range(2):
        (tmp_path / f"in{i}").write_bytes(
            b"head\n" + b"".join(b"%d\xff\r\n" % j for j in range(20_000 * i, 20_000 * (i + 1)))
        )
    (tmp_path / "main.py").write_text(
        f"""
from distributed import Client, LocalCluster
from lib.shuffle.cluster import shuffle_on_dask

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        for out in ("x.txt", "y.txt"):
            found = shuffle_on_dask(
                [{str(tmp_path / "in0")!r}, {str(tmp_path / "in1")!r}], {str(tmp_path)!r} + "/" + out,
                seed=3, header=1, parts=4, block=40_000, scheduler=cluster.scheduler_address,
            )
        assert found.lines == 40_000 and len(found.outputs) == 4
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, tmp_path / "main.py"], env=environment, check=True, capture_output=True)
    texts = [path.read_bytes() for path in sorted(tmp_path.glob("x-*-of-00004.txt"))]
    assert len(texts) == 4 and all(text.startswith(b"head\n") for text in texts)
    assert texts == [path.read_bytes() for path in sorted(tmp_path.glob("y-*-of-00004.txt"))]  # the seed decides
    found = np.array([int(line[:-2]) for text in texts for line in text.split(b"\n")[1:-1]])
    assert sorted(found) == list(range(40_000))
    table = np.histogram2d(np.arange(40_000), found, bins=10)[0]
    assert chi2.sf(((table - 400) ** 2 / 400).sum(), 81) > 1e-4
    assert not list(tmp_path.glob(".*"))
