import cmath
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import masks
from lib.attention import length_scaled, softmax_attention
from lib.cache import Cache
from lib.extrapolation import ntk
from lib.positions import frequencies, rotary
from lib.rerope import PositionMap, mapped_attention, mapped_logits, oracle_logits
from lib.transformer import Config, encoder
from tests.test_attention import qkv

MAPS = {
    "plain": PositionMap.plain(),
    "interpolate": PositionMap.interpolate(4),
    "rerope": PositionMap.rerope(5),
    "leaky": PositionMap.leaky(5, 4),
    "inverse": PositionMap.leaky(5, 1 / 16),
    "self-extend": PositionMap.self_extend(5, 3),
    "fractional": PositionMap.leaky(2.5, 3.7),
}
every_map = pytest.mark.parametrize("map", MAPS.values(), ids=MAPS)


def softmax_of_oracle(q, k, v, map, mask=None, **options):
    """Attention from the oracle's logits; rows that see nothing are 0."""
    logits = oracle_logits(q, k, map, **options) * q.shape[-1] ** -0.5
    seen = masks.causal(q.shape[2], k.shape[2])
    seen = seen if mask is None else seen & mask
    return logits.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0) @ v.to(logits.dtype)


# maps


def test_the_maps_by_their_formulas():
    r = torch.tensor([0, 1, 4.5, 5, 6, 8, 20.5])
    of = lambda map: map.f(r).tolist()  # noqa: E731
    assert of(PositionMap.plain()) == r.tolist()
    assert of(PositionMap.interpolate(4)) == (r / 4).tolist()
    assert of(PositionMap.rerope(5)) == [0, 1, 4.5, 5, 5, 5, 5]
    assert of(PositionMap.leaky(5, 2)) == [0, 1, 4.5, 5, 5.5, 6.5, 12.75]
    assert of(PositionMap.leaky(5, 1 / 16)) == [0, 1, 4.5, 5, 21, 53, 253]
    assert of(PositionMap.self_extend(6, 3)) == [0, 1, 4.5, 5, 6, 6, 10]


@every_map
def test_a_map_is_odd_continuous_at_the_window_and_never_falls(map):
    r = torch.linspace(0, 60, 481)
    assert torch.equal(map.f(-r), -map.f(r))
    assert map.f(r).dtype == torch.float64
    assert (map.f(r).diff() >= 0).all()
    before, at = map.f(torch.tensor([map.w - 1e-9, map.w], dtype=torch.float64)).abs()
    # a slope of at most 16 over 1e-9
    torch.testing.assert_close(before, at, rtol=0, atol=1.7e-8)


def test_grouped_positions_depend_on_the_key_too():
    map = PositionMap.self_extend(6, 4)
    i = torch.arange(40)
    expected = [[i - j if i - j < 6 else i // 4 - j // 4 + 6 - 6 // 4 for j in range(i + 1)] for i in range(40)]
    for query, row in enumerate(expected):
        assert map.between(i[query], i[: query + 1]).tolist() == row
    spread = map.between(i[:, None], i) - map.f(i[:, None] - i)
    assert spread.tril().unique().tolist() == [0, 1]
    assert torch.equal(map.between(i[:, None], i), -map.between(i[:, None], i).T)


# logits


@every_map
def test_the_oracle_is_the_sum_of_the_post(map):
    q, k, _ = qkv(3, 9, b=1, h=1)
    theta = frequencies(4, base=50.0).tolist()
    ours = oracle_logits(q, k, map, base=50.0)[0, 0]
    for a in range(3):
        for j in range(9):
            i = a + 6
            r = abs(i - j)
            group = map.k if map.floor else None
            outer = abs(i // group - j // group) + map.w - map.w // group if group else map.w + (r - map.w) / map.k
            f = math.copysign(r if r < map.w else outer, i - j)
            x, y = (torch.view_as_complex(z.view(2, 2)).tolist() for z in (q[0, 0, a], k[0, 0, j]))
            total = sum((x[c] * y[c].conjugate() * cmath.exp(1j * theta[c] * f)).real for c in range(2))
            assert ours[a, j].item() == pytest.approx(total, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 20), more=st.integers(0, 20), w=st.integers(0, 30), k=st.floats(1 / 16, 64), seed=st.integers(0, 9)
)
def test_the_matrices_are_the_oracle_both_ways_for_any_numbers(n, more, w, k, seed):
    q, key, _ = qkv(n, n + more, seed=seed)
    group = math.ceil(k)
    maps = [PositionMap.leaky(w, k), PositionMap.rerope(w), PositionMap.self_extend(w, group)]
    for map in [*maps, PositionMap.interpolate(k), PositionMap.leaky(w + 0.5, k)]:
        # float64; angles up to 600
        torch.testing.assert_close(mapped_logits(q, key, map), oracle_logits(q, key, map), rtol=0, atol=1e-10)


def test_plain_logits_are_those_of_rotary_positions_and_a_wide_window_changes_nothing():
    q, k, _ = qkv(4, 9)
    turn = rotary(9, 4)
    expected = turn(q, 5) @ turn(k).mT
    for map in (PositionMap.plain(), PositionMap.rerope(9), PositionMap.leaky(20, 8)):
        torch.testing.assert_close(mapped_logits(q, k, map), expected)
        torch.testing.assert_close(oracle_logits(q, k, map), expected)


def test_given_frequencies_replace_the_base():
    q, k, v = qkv()
    map, theta = PositionMap.leaky(3, 2), ntk(4, 8)
    base = 10_000.0 * 8 ** (4 / 2)
    for f in (oracle_logits, mapped_logits):
        torch.testing.assert_close(f(q, k, map, theta=theta), f(q, k, map, base=base))
    torch.testing.assert_close(mapped_attention(map, theta=theta)(q, k, v), mapped_attention(map, base=base)(q, k, v))


# attention


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 24),
    more=st.integers(0, 24),
    w=st.integers(0, 30),
    k=st.floats(1 / 16, 64),
    block=st.integers(1, 30),
    kind=st.sampled_from(["leaky", "rerope", "self-extend", "fractional"]),
    hide=st.sampled_from([None, "past", "padding", "heads", "matrix", "keys", "queries", "all"]),
    seed=st.integers(0, 99),
)
def test_attention_and_its_gradients_are_the_oracles(n, more, w, k, block, kind, hide, seed):
    m = n + more
    map = {
        "leaky": PositionMap.leaky(w, k),
        "rerope": PositionMap.rerope(w),
        "self-extend": PositionMap.self_extend(w, math.ceil(k)),
        "fractional": PositionMap.leaky(w + 0.5, k),
    }[kind]
    chance = torch.Generator().manual_seed(seed)
    some = lambda *shape: torch.rand(*shape, generator=chance) > 0.4  # noqa: E731
    mask = {
        None: None,
        "past": masks.causal(n, m),
        "padding": some(2, 1, 1, m),
        "heads": some(2, 3, n, m),
        "matrix": some(n, m),
        "keys": some(m),
        "queries": some(n, 1),
        "all": torch.zeros(1, 1, dtype=torch.bool),
    }[hide]
    x = [part.requires_grad_() for part in qkv(n, m, seed=seed)]
    attend = mapped_attention(map, block=block)
    ours, expected = attend(*x, mask=mask), softmax_of_oracle(*x, map, mask)
    with torch.no_grad():
        lean = attend(*x, mask=mask)
    # float64 throughout
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(lean, expected, rtol=0, atol=1e-10)
    grads, wanted = (torch.autograd.grad(out.sin().sum(), x) for out in (ours, expected))
    torch.testing.assert_close(grads, wanted, rtol=0, atol=1e-10)
    if hide == "all":
        assert (ours == 0).all() and (lean == 0).all()


@every_map
def test_attention_sees_no_future_even_where_the_mask_would_let_it(map):
    q, k, v = qkv(20)
    attend = mapped_attention(map, block=7)
    before = attend(q, k, v, mask=torch.ones(20, 20, dtype=torch.bool))
    assert torch.equal(before, attend(q, k, v))
    k[:, :, 12:] += 3
    v[:, :, 12:] -= 7
    assert torch.equal(attend(q, k, v)[:, :, :12], before[:, :, :12])


@every_map
@pytest.mark.parametrize("layers", [1, 2])
def test_decoding_with_stored_keys_gives_what_the_whole_sequence_gives(map, layers):
    model = encoder(Config(11, d=16, heads=2, layers=layers, causal=True), attend=mapped_attention(map, block=4))
    ids = torch.randint(11, (3, 23), generator=torch.Generator().manual_seed(0))
    keep = masks.padding(torch.tensor([[False] * 2 + [True] * 21, [True] * 23, [True] * 23]))
    with torch.inference_mode():
        whole = model(ids, keep)
        cache, parts, start = Cache(23), [], 0
        for size in (9, 1, 1, 5, 1, 6):
            part = slice(start, start + size)
            parts.append(model(ids[:, part], keep[..., : start + size], cache))
            start += size
    # float32 sums of 16 channels and 23 keys
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)
    assert model(ids, keep).requires_grad  # the tables made in inference mode serve training as well


def test_a_model_with_plain_distances_is_the_model_with_rotary_positions():
    config = Config(11, d=16, heads=2, causal=True)
    ids = torch.randint(11, (3, 23), generator=torch.Generator().manual_seed(0))
    one = encoder(config, position=rotary(23, 8))(ids)
    for map in (PositionMap.plain(), PositionMap.rerope(23)):
        torch.testing.assert_close(encoder(config, attend=mapped_attention(map))(ids), one, rtol=0, atol=1e-5)


def test_a_scale_that_grows_with_length_goes_on_top():
    q, k, v = qkv(20)
    map, past = PositionMap.rerope(5), masks.causal(20)
    attend = length_scaled(mapped_attention(map, block=8), base=8.0, least=1.0)
    factor = (torch.arange(1, 21).double().log() / math.log(8)).clamp(min=1)[:, None]
    # the factor is computed in float32
    expected = softmax_of_oracle(q * factor, k, v, map)
    torch.testing.assert_close(attend(q, k, v, mask=past), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        mapped_attention(map, scale=0.3)(q, k, v), softmax_of_oracle(q * 0.3 * 2, k, v, map), rtol=0, atol=1e-10
    )


def test_the_plain_map_is_softmax_attention_with_rotary_positions_masks_and_all():
    q, k, v = qkv(11)
    seen = masks.causal(11) & masks.padding(torch.tensor([4, 11]), 11)
    expected = softmax_attention(q, k, v, mask=seen, position=rotary(11, 4))
    torch.testing.assert_close(mapped_attention(PositionMap.plain(), block=4)(q, k, v, mask=seen), expected)


@every_map
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_far_out_is_off_by_its_own_rounding(map, dtype):
    n, m = 3, 300
    q, k, v = qkv(n, m, d=8, dtype=dtype)
    exact = softmax_of_oracle(q.double(), k.double(), v.double(), map)
    for rows in (slice(None), slice(n - 1, None)):  # blocks, and a single query
        ours = mapped_attention(map)(q[:, :, rows], k, v)
        assert ours.dtype == dtype
        # computed in float32, rounded once at the end; outputs are below 1
        torch.testing.assert_close(ours.double(), exact[:, :, rows], rtol=0, atol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("map", [PositionMap.rerope(5), PositionMap.leaky(5, 2), PositionMap.plain()])
def test_a_million_positions_cost_no_accuracy(map):
    m = 10**6
    q, k, _ = qkv(2, m, b=1, h=1, d=4)
    v = torch.zeros(1, 1, m, 3, dtype=torch.float64)
    v[0, 0, [0, m // 2, m - 1], [0, 1, 2]] = 1e6
    exact = softmax_of_oracle(q, k, v, map)
    for rows in (slice(None), slice(1, None)):
        ours = mapped_attention(map)(q[:, :, rows].float(), k.float(), v.float())
        # a float32 angle would be off by 1e-2; here float32 sums of a million weights, and softmax's own
        torch.testing.assert_close(ours.double(), exact[:, :, rows], rtol=2e-5, atol=0)


def test_shared_key_heads_are_views_and_value_channels_may_differ():
    q, k, v = qkv(13, h=6)
    k, v = (x[:, :2].repeat_interleave(3, 1) for x in (k, v))
    few = [x[:, ::3, None].expand(-1, -1, 3, -1, -1).flatten(1, 2) for x in (k, v)]
    attend = mapped_attention(PositionMap.leaky(4, 3), block=5)
    torch.testing.assert_close(attend(q, *few), attend(q, k, v))
    side = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    torch.testing.assert_close(attend(*side), attend(q, k, v))
    assert attend(q, k, v).shape == (2, 6, 13, 5)


def test_members_trained_side_by_side_are_the_members_alone():
    attend = mapped_attention(PositionMap.leaky(3, 1 / 4), block=4)
    stacked = [torch.stack([x, 2 * x]) for x in qkv(9)]
    past = masks.causal(9)
    together = torch.vmap(partial(attend, mask=past))(*stacked)
    for one, parts in zip(together, zip(*stacked, strict=True), strict=True):
        torch.testing.assert_close(one, attend(*parts, mask=past))
    loss = lambda q, k, v: attend(q, k, v, mask=past).sin().sum()  # noqa: E731
    grads = torch.vmap(torch.func.grad(loss, argnums=(0, 1, 2)))(*stacked)
    x = [part[1].clone().requires_grad_() for part in stacked]
    torch.testing.assert_close([g[1] for g in grads], list(torch.autograd.grad(loss(*x), x)))


def test_memory_without_gradients_is_a_block_of_rows():
    q, k, v = (x.float() for x in qkv(512, b=1, h=1, d=8))
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in (out if isinstance(out, tuple | list) else [out]) if torch.is_tensor(x))
            return out

    attend = mapped_attention(PositionMap.rerope(64), block=32)
    with torch.no_grad(), Watch():
        attend(q, k, v)
    assert max(sizes) == 32 * 512


# refusals


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PositionMap.rerope(-1), "w=-1"),
        (lambda: PositionMap.rerope(math.inf), "w=inf"),
        (lambda: PositionMap.rerope(math.nan), "w=nan"),
        (lambda: PositionMap.leaky(4, 0), "k=0"),
        (lambda: PositionMap.interpolate(math.nan), "k=nan"),
        (lambda: PositionMap.self_extend(4, 0), "g=0"),
        (lambda: mapped_attention(PositionMap.plain(), block=0), "block >= 1"),
        (lambda: mapped_attention(PositionMap.plain(), base=0.0), "base > 0"),
        (lambda: PositionMap.rerope(4).f(torch.tensor([math.nan])), "NaN"),
    ],
)
def test_numbers_that_make_no_map_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_inputs_that_do_not_fit_are_refused():
    q, k, v = qkv(9, 5)
    attend = mapped_attention(PositionMap.rerope(4))
    with pytest.raises(ValueError, match="n=9, m=5"):
        attend(q, k, v)
    q, k, v = qkv()
    with pytest.raises(ValueError, match="position=None"):
        attend(q, k, v, position=rotary(9, 4))
    with pytest.raises(ValueError, match="dtype bool"):
        attend(q, k, v, mask=torch.ones(9, 9))
    with pytest.raises(ValueError, match="broadcastable"):
        attend(q, k, v, mask=masks.causal(8))
    with pytest.raises(ValueError, match="even and positive, got d=3"):
        attend(q[..., :3], k[..., :3], v)
    with pytest.raises(ValueError, match="NaN"):
        attend(q, k, v / 0)
    for f in (attend, lambda q, k, v: mapped_logits(q, k, PositionMap.plain())):
        with pytest.raises(ValueError, match="d = 4"):
            f(q, k[..., :2], v)
    with pytest.raises(ValueError, match="2 frequencies for d=4, got 3"):
        mapped_attention(PositionMap.rerope(4), theta=torch.ones(3))(q, k, v)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_map
def test_attention_follows_its_input_to_the_device(map):
    q, k, v = (x.float() for x in qkv(33))
    attend = mapped_attention(map, block=8)
    for rows in (slice(None), slice(32, None)):
        for mask in (None, masks.padding(torch.tensor([20, 33]), 33)):
            here = attend(q[:, :, rows], k, v, mask=mask)
            there = attend(q[:, :, rows].cuda(), k.cuda(), v.cuda(), mask=None if mask is None else mask.cuda())
            torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-5)
