import pandas as pd
import pytest

from lib.data import leaderboards


def test_every_cell_names_a_known_source_and_memory_is_marked():
    for board in leaderboards.DIAGNOSTIC:
        table = leaderboards.cells(board)
        assert set(table["source"]) <= set(leaderboards.SOURCES)
        assert set(table["verified"]) <= {"yes", "no"}
        assert ((table["source"] == "memory") == (table["verified"] == "no")).all()
        assert not table.duplicated(["system", "task", "metric"]).any()
        assert table["score"].between(0, 100).all()


@pytest.mark.parametrize(("board", "systems", "tasks"), [("superglue", 11, 8), ("glue", 5, 10)])
def test_the_boards_are_complete(board, systems, tasks):
    table = leaderboards.leaderboard(board)
    assert table.shape == (systems, tasks) and table.notna().all(axis=None)
    assert list(table.index) == list(leaderboards.official(board).index)


def test_the_printed_totals_guard_against_shifted_columns():
    table = leaderboards.leaderboard("superglue")
    # a total is printed to 0.1, and so are the cells behind it
    assert (table.mean(axis=1) - leaderboards.official("superglue")).abs().max() <= 0.06


def test_metrics_of_one_task_are_averaged_first():
    table = leaderboards.leaderboard("superglue")
    assert table.loc["Human", "MultiRC"] == pytest.approx((81.8 + 51.9) / 2)
    assert table.loc["ERNIE 3.0", "CB"] == pytest.approx((98.6 + 99.2) / 2)


def test_diagnostic_sets_keep_the_systems_that_have_them():
    assert list(leaderboards.leaderboard("superglue", diagnostic=True).columns[-2:]) == ["AX-b", "AX-g"]
    assert "Human" not in leaderboards.leaderboard("glue", diagnostic=True).index
    assert "Human" in leaderboards.leaderboard("superglue", diagnostic=True).index


def test_unverified_scores_can_be_left_out():
    assert list(leaderboards.leaderboard("glue", verified=True).index) == ["Human", "MT-DNN", "BERT-large"]
    assert leaderboards.leaderboard("superglue", verified=True).shape == (11, 8)


def test_a_parquet_board_gives_its_raw_score_columns(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "board.parquet"
    columns = {"name": ["a", "b", "c"], "BBH": [1.0, 2.0, 3.0], "BBH Raw": [0.3, 0.4, None], "stars": [1, 2, 3]}
    pd.DataFrame(columns).to_parquet(path)
    assert leaderboards.from_parquet(path)["BBH Raw"].tolist() == [0.3, 0.4]
    assert list(leaderboards.from_parquet(path, tasks=["BBH"]).columns) == ["BBH"]
    pd.DataFrame({"name": ["a"], "label": [1]}).to_parquet(path)
    assert leaderboards.from_parquet(path)["label"].tolist() == [1.0]


def test_unknown_boards_files_and_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="board must be one of superglue, glue, got 'clue'"):
        leaderboards.cells("clue")
    with pytest.raises(ValueError, match="expected a parquet file, got"):
        leaderboards.from_parquet(tmp_path / "absent.parquet")
    pytest.importorskip("pyarrow")
    pd.DataFrame({"a": [1.0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="expected columns among a, got b"):
        leaderboards.from_parquet(tmp_path / "a.parquet", tasks=["b"])
