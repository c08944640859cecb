import pytest
import torch

from lib.data.clusters import clusters


def test_the_classes_lie_where_they_should():
    data = clusters(40_000, seed=0)
    assert data.X.shape == (40_000, 2) and float(data.y.float().mean()) == pytest.approx(0.12, abs=0.01)
    rare, common = data.X[data.y], data.X[~data.y]
    far = rare[:, 0] < -1
    assert float(far.float().mean()) == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(rare[far].mean(0), torch.tensor([-3.0, 3.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(common.std(0), torch.tensor([0.9, 0.9]), rtol=0, atol=0.02)


def test_the_seed_alone_decides():
    assert torch.equal(clusters(5, seed=1).X, clusters(5, seed=1).X)
    assert not torch.equal(clusters(5, seed=1).X, clusters(5, seed=2).X)


@pytest.mark.parametrize("bad", [{"count": 0}, {"share": 0.0}, {"share": 1.0}])
def test_impossible_samples_are_refused(bad):
    with pytest.raises(ValueError, match="got"):
        clusters(**{"count": 2, "seed": 0, **bad})
