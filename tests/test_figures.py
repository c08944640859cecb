"""lib.figures: sizes, palette, Chinese labels without boxes, refusals."""

import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

from lib import figures


@pytest.fixture(autouse=True)
def _house_style():
    matplotlib.use("agg")
    with matplotlib.rc_context():
        figures.style()
        yield
    plt.close("all")


def drawn(fig):
    """Draw a figure with every warning an error: a missing glyph is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig.canvas.draw()


def contrast(a: str, b: str) -> float:
    """The WCAG contrast ratio of two colours."""

    def luminance(colour):
        rgb = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_chinese_labels_are_drawn_without_missing_glyphs():
    fig, ax = figures.panel()
    ax.set(xlabel="训练步数 −1", title="注意力、位置编码：“长度”外推。")
    drawn(fig)


def test_a_glyph_outside_the_subset_is_noticed():
    fig, ax = figures.panel()
    ax.set_title("\u9f98")  # a rare character: what the test above would miss if warnings were off
    with pytest.raises(UserWarning, match="Glyph 40856"):
        drawn(fig)


def test_the_font_has_the_common_characters_and_the_punctuation():
    from tools.contract import glyphs

    known = glyphs(figures.CJK_FONT)
    common = "".join(bytes([r, c]).decode("gb2312", "ignore") for r in range(0xB0, 0xD8) for c in range(0xA1, 0xFF))
    assert len(common) == 3755 and not {c for c in common + "，。：；！？（）《》「」、" if ord(c) not in known}


def test_style_may_be_called_twice():
    before = dict(matplotlib.rcParams)
    figures.style()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 1), (6.4, 3.6)), ((2, 1), (9.0, 3.2)), ((3, 2), (9.0, 6.4)), ((1, 2), (6.4, 7.2))]
)
def test_panels_have_the_standard_sizes(shape, size):
    fig, axes = figures.panel(*shape)
    assert tuple(fig.get_size_inches()) == size and np.size(axes) == shape[0] * shape[1]
    assert figures.panel(height=5)[0].get_figheight() == 5


@pytest.mark.parametrize("shape", [(0, 1), (5, 1), (1, 0), (1, 9)])
def test_panels_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="a panel has 1-4 columns and 1-8 rows, got"):
        figures.panel(*shape)


@pytest.mark.parametrize("colour", figures.PALETTE)
def test_the_palette_stands_out_on_white_and_on_the_dark_page(colour):
    assert contrast(colour, "#ffffff") >= 3 and contrast(colour, "#14181e") >= 3


def test_series_differ_in_more_than_colour():
    cycle = list(matplotlib.rcParams["axes.prop_cycle"])
    assert len({str(c["linestyle"]) for c in cycle}) == len({c["color"] for c in cycle}) == 4


def test_band_draws_mean_and_range_over_seeds():
    fig, ax = figures.panel()
    figures.band(ax, [0, 1, 2], np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 5.0]]), figures.OURS, label="ours")
    assert ax.lines[0].get_ydata().tolist() == [2.0, 2.0, 4.0]
    ys = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (ys.min(), ys.max()) == (1.0, 5.0)
    drawn(fig)


@pytest.mark.parametrize("runs", [[1.0, 2.0, 3.0], [[1.0, 2.0]], np.empty((0, 3)), [[1.0, 2.0, np.nan]]])
def test_band_refuses_other_shapes_and_gaps(runs):
    with pytest.raises(ValueError, match=r"finite, non-empty runs of shape \(seeds, 3\), got"):
        figures.band(figures.panel()[1], [0, 1, 2], runs, figures.OURS)


def test_bars_show_the_mean_and_every_seed():
    fig, ax = figures.panel()
    figures.bars_with_seeds(ax, {"ours": [1.0, 2.0, 3.0], "对照": np.array([0.5])}, [figures.OURS, figures.PEER])
    assert [bar.get_width() for bar in ax.patches] == [2.0, 0.5]
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 1]
    drawn(fig)


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [1.0], "b": [np.nan]}])
def test_bars_refuse_names_without_finite_seeds(values):
    with pytest.raises(ValueError, match="one or more finite seeds for each name"):
        figures.bars_with_seeds(figures.panel()[1], values)


def test_signed_matrices_are_centred_and_queries_run_downwards():
    fig, ax = figures.panel()
    figures.matrix(ax, [[-1.0, 0.0], [0.5, 4.0]], signed=True, label="score")
    image = ax.images[0]
    assert image.get_clim() == (-4.0, 4.0) and image.cmap.name == "RdBu_r" and image.origin == "upper"
    drawn(fig)


def test_a_matrix_of_zeros_can_be_drawn():
    fig, ax = figures.panel()
    figures.matrix(ax, np.zeros((2, 2)), signed=True)
    drawn(fig)


@pytest.mark.parametrize("M", [[1.0, 2.0], [[np.inf]], np.empty((0, 2)), np.zeros((2, 2, 2))])
def test_matrix_refuses_what_is_no_finite_matrix(M):
    with pytest.raises(ValueError, match="expected finite, non-empty matrix of shape"):
        figures.matrix(figures.panel()[1], M)


def test_tokens_are_coloured_by_score_on_a_symmetric_scale():
    fig, ax = figures.panel()
    figures.heat_tokens(ax, ["这", "是", "好", "书"], [0.0, -0.1, 2.0, -1.0])
    assert ax.images[0].get_clim() == (-2.0, 2.0)
    assert [t.get_text() for t in ax.texts][::2] == ["这", "是", "好", "书"]
    drawn(fig)


@pytest.mark.parametrize(("tokens", "scores"), [(["a"], [1.0, 2.0]), ([], []), (["a"], [np.nan]), (["a"], [[1.0]])])
def test_tokens_need_one_finite_score_each(tokens, scores):
    with pytest.raises(ValueError, match="expected finite, non-empty scores of shape"):
        figures.heat_tokens(figures.panel()[1], tokens, scores)


def test_a_label_takes_the_colour_of_its_line():
    fig, ax = figures.panel()
    figures.label_line(ax, 1, 2, "ours", figures.OURS, dy=3)
    assert ax.texts[0].get_color() == figures.OURS and ax.texts[0].get_fontsize() == 9
    drawn(fig)
