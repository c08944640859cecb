import pytest
import torch

from lib import rope2d
from lib.patches import PatchClassifier, patches, resized_accuracy
from lib.transformer import Config


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_patches_are_the_squares_of_an_image_row_by_row():
    x = images(2, 3, 4, 6)
    cut = patches(x, 2)
    assert cut.shape == (2, 6, 12)
    torch.testing.assert_close(cut[:, 4], x[:, :, 2:4, 2:4].flatten(1))
    torch.testing.assert_close(cut.mT, torch.nn.functional.unfold(x, 2, stride=2))


def test_without_positions_patches_may_be_shuffled_and_with_them_not():
    x = images(2, 1, 4, 4)
    moved = torch.cat([x[:, :, 2:], x[:, :, :2]], 2)
    config = Config(1, d=8, heads=1)
    plain = PatchClassifier(config, 3, size=2)
    torch.testing.assert_close(plain(x), plain(moved))
    placed = PatchClassifier(config, 3, size=2, position=rope2d.Plane(rope2d.grid(2, 2), rope2d.axial(8)))
    # two rows of patches swapped: vertical offsets change sign
    assert not torch.allclose(placed(x), placed(moved), atol=1e-4)


def test_one_set_of_weights_reads_every_size_and_the_seed_decides():
    plane = rope2d.Plane(rope2d.grid(2, 2), rope2d.axial(8))
    model = PatchClassifier(Config(1, d=8, heads=1), 3, size=2, position=plane, seed=1)
    again = PatchClassifier(Config(1, d=8, heads=1), 3, size=2, position=plane, seed=1)
    plane.move_(rope2d.grid(3, 1))
    torch.testing.assert_close(model(images(2, 1, 6, 2)), again(images(2, 1, 6, 2)))


def test_accuracy_on_resized_images_is_that_of_the_resized_images():
    model, x = PatchClassifier(Config(1, d=8, heads=1), 3, size=2), images(5, 1, 4, 4)
    larger = torch.nn.functional.interpolate(x, size=(8, 8), mode="bilinear")
    labels = model(larger).argmax(-1)
    assert resized_accuracy(model, x, labels, 8, batch=2) == 1
    assert resized_accuracy(model, x, (labels + 1) % 3, 8, batch=2) == 0


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 3, got \(4, 6\)"):
        patches(images(1, 1, 4, 6), 3)
    with pytest.raises(ValueError, match="classes"):
        PatchClassifier(Config(1), 0, size=2)
