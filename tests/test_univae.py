"""lib.univae: the information path, the chain of latents, decoding with a cache, losses."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lib import masks, train
from lib.positions import rotary
from lib.transformer import Config, encoder
from lib.univae import Gaussian, Sphere, UniVAE, elbo_loss, reconstruction, slerp, with_noise

N, VOCAB = 6, 11
POSTERIORS = [Sphere(4, 9.0), Gaussian(4)]


def model(posterior=None, *, order="pre", latents=2, learned=False):
    table = {"max_len": 2 * N} if learned else {}
    config = Config(VOCAB, d=16, heads=2, layers=3, segments=2, order=order, std=1.0, **table)
    trunk = encoder(config, position=None if learned else rotary(2 * N, 8), seed=1)
    return UniVAE(trunk, posterior or Sphere(4, 9.0), length=N, latents=latents, seed=2)


def rows(count=5, *, seed=0):
    """[CLS] = 1, two to four tokens, [SEP] = 2, padding = 0."""
    ids = torch.randint(3, VOCAB, (count, N), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = 1
    for i, row in enumerate(ids):
        end = 3 + i % 3
        row[end], row[end + 1 :] = 2, 0
    return ids


def noise(m, count=5, seed=0):
    return m.posterior.noise(count, m.latents, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("learned", [False, True])
def test_given_the_latents_the_input_does_not_matter_at_all(posterior, order, learned):
    m = model(posterior, order=order, learned=learned)
    codes = posterior.prior(5, 2, generator=torch.Generator().manual_seed(3))
    seen = []
    hook = m.trunk.embed.register_forward_hook(lambda module, given, out: seen.append(out))
    one, two, none = (m.decode_logits(codes, rows(), ids) for ids in (rows(), rows(seed=1), None))
    hook.remove()
    assert torch.equal(one, two) and torch.equal(one, none)
    (grad,) = torch.autograd.grad(one.sin().sum(), seen[0])
    assert grad[:, :N].abs().max() == 0 and grad[:, N:].abs().max() > 0
    leaky = copy.copy(m)
    leaky.bridge = masks.prefix
    gap = leaky.decode_logits(codes, rows(), rows()) - leaky.decode_logits(codes, rows(), rows(seed=1))
    assert gap.abs().max() > 1e-3


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_forward_pass_is_decoding_of_its_own_latents(posterior):
    m = model(posterior)
    for given in (None, noise(m)):
        logits, codes, kl = m(rows(), given)
        assert codes.shape == (5, 2, 4) and kl.shape == (5, 2)
        torch.testing.assert_close(m.decode_logits(codes, rows()), logits)


def test_the_posterior_is_a_chain():
    m = model(latents=3)
    before = m(rows(), noise(m))[1]
    for k in range(3):
        given = noise(m)
        given[:, k] = noise(m, seed=1)[:, k]
        moved = (m(rows(), given)[1] - before).abs().amax((0, 2)) > 0
        assert moved.tolist() == [i >= k for i in range(3)]


def test_a_latent_in_the_first_layer_is_one_law_for_all_inputs():
    codes = model(latents=3)(rows())[1]
    assert codes[:, 0].std(0).max() == 0 and codes[:, 1].std(0).max() > 1e-3


def test_the_decoder_is_causal():
    m, changed = model(), rows()
    changed[:, 3] = (changed[:, 3] + 1) % VOCAB
    codes = m.posterior.prior(5, 2, generator=torch.Generator().manual_seed(3))
    gap = (m.decode_logits(codes, rows()) - m.decode_logits(codes, changed)).abs()
    assert gap[:, :3].max() == 0 and gap[:, 3:].max() > 0


def test_padding_of_the_input_is_not_read():
    m, longer = model(), rows()
    at = longer == 0
    with torch.no_grad():
        m.trunk.embed.token.weight[0] += 5.0
        moved = m(longer)[1]
        m.trunk.embed.token.weight[0] -= 5.0
        before = m(longer)[1]
    assert at.any()
    # the table of the padding moved and back, in float32
    torch.testing.assert_close(moved, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("learned", [False, True])
def test_generation_with_the_cache_is_greedy_decoding_without_it(posterior, learned):
    m = model(posterior, learned=learned)
    codes = posterior.prior(40, 2, generator=torch.Generator().manual_seed(3))
    out = m.generate(codes, 1, 2)
    naive = torch.full((40, N), 0)
    naive[:, 0] = 1
    for t in range(1, N):
        best = m.decode_logits(codes, naive)[:, t - 1].argmax(-1)
        naive[:, t] = torch.where((naive[:, t - 1] == 2) | (naive[:, t - 1] == 0), 0, best)
    assert torch.equal(out, naive)
    assert len({tuple(row) for row in out.tolist()}) > 1


def test_generation_ends_at_the_end():
    m = model()
    out = m.generate(m.posterior.prior(200, 2, generator=torch.Generator().manual_seed(4)), 1, 2)
    ended = (out == 2).any(1)
    assert ended.any()
    for row in out[ended].tolist():
        assert not any(row[row.index(2) + 1 :])


def test_kl_terms():
    sphere, gauss = POSTERIORS
    h = torch.linspace(-1, 1, 16).view(2, 8)
    assert sphere(h[:, :4], None)[1].unique().numel() == 1
    z, kl = gauss(h, None)
    law = torch.distributions.Normal(h[:, :4], (h[:, 4:] / 2).exp())
    expected = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl, expected)
    assert torch.equal(z, h[:, :4])
    given = torch.ones(2, 4)
    torch.testing.assert_close(gauss(h, given)[0], law.mean + law.stddev)


def test_reconstruction_is_the_sum_over_tokens_after_the_first():
    ids, logits = rows(3), torch.randn(3, N, VOCAB, generator=torch.Generator().manual_seed(0))
    log_p = logits.log_softmax(-1)
    for got, row, p in zip(reconstruction(logits, ids), ids.tolist(), log_p, strict=True):
        expected = -sum(p[t - 1, row[t]] for t in range(1, N) if row[t] != 0)
        torch.testing.assert_close(got, expected)


def test_the_loss_is_minus_the_elbo_and_free_bits_cut_each_latent_at_its_floor():
    m, trace = model(Gaussian(4)), []
    batch = (rows(), noise(m))
    logits, _, kl = m(*batch)
    said = reconstruction(logits, batch[0]).mean()
    torch.testing.assert_close(elbo_loss(trace=trace)(m, batch), said + kl.sum(1).mean())
    assert trace == [(pytest.approx(said.item()), pytest.approx(kl.sum(1).mean().item()))]
    torch.testing.assert_close(elbo_loss(0.0)(m, batch), said)
    floor = kl.mean().item()
    torch.testing.assert_close(elbo_loss(2.0, floor)(m, batch), said + 2 * kl.mean(0).clamp(min=floor).sum())


def test_a_short_training_tells_sentences_apart():
    m, ids = model(Sphere(4, 40.0)), rows(6)
    batch = with_noise(lambda step: (ids,), m, torch.Generator().manual_seed(0))
    before = elbo_loss(0.0)(m, batch(0)).item()
    train.fit(m, batch, elbo_loss(0.0), steps=60, lr=2e-2)
    assert elbo_loss(0.0)(m, batch(0)).item() < 0.3 * before


def test_slerp_walks_the_arc():
    a, b = torch.eye(3)[:2]
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    third = torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6), 0.0])
    torch.testing.assert_close(slerp(a, b, 1 / 3), third)
    torch.testing.assert_close(slerp(a, a, 0.4), a)


def test_weights_depend_on_the_seed_alone():
    state = torch.get_rng_state()
    one, two = model(), model()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_many_models_can_be_run_side_by_side():
    models = [model() for _ in range(2)]
    with torch.no_grad():
        models[1].up[0].weight += 0.1
    given, ids = torch.stack([noise(models[0], seed=k) for k in range(2)]), torch.stack([rows(), rows(seed=1)])
    weights, _ = torch.func.stack_module_state(models)
    call = lambda own, *batch: torch.func.functional_call(models[0], own, batch)[0]  # noqa: E731
    with sdpa_kernel(SDPBackend.MATH):
        together = torch.vmap(call)(weights, ids, given)
    for k, m in enumerate(models):
        # other kernels in float32
        torch.testing.assert_close(together[k], m(ids[k], given[k])[0], rtol=1e-4, atol=1e-4)


def test_bad_input_is_refused():
    m = model()
    trunk = m.trunk
    plain = encoder(Config(VOCAB, d=16, heads=2))
    causal = encoder(Config(VOCAB, d=16, heads=2, segments=2, causal=True))
    for call, words in (
        (lambda: UniVAE(trunk, Sphere(4, 9.0), length=1, latents=2), "length >= 2"),
        (lambda: UniVAE(trunk, Sphere(4, 9.0), length=N, latents=4), "at least 4"),
        (lambda: UniVAE(trunk, Sphere(4, 9.0), length=N, latents=0), ">= 1 blocks"),
        (lambda: UniVAE(plain, Sphere(4, 9.0), length=N, latents=1), "two segments"),
        (lambda: UniVAE(causal, Sphere(4, 9.0), length=N, latents=1), "causal=True"),
        (lambda: m(rows()[:, :4]), "6"),
        (lambda: m(rows() + VOCAB), "must lie in"),
        (lambda: m.generate(torch.ones(2, 3, 4), 1, 2), "codes"),
        (lambda: m.decode_logits(torch.ones(5, 2, 3), rows()), "codes"),
        (lambda: elbo_loss(-1.0), "weight >= 0"),
        (lambda: Gaussian(0), "d >= 1"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_cuda_agrees_with_the_cpu(posterior):
    m = model(posterior)
    ids, given = rows(), noise(m)
    here = m(ids, given)
    codes = posterior.prior(8, 2, generator=torch.Generator().manual_seed(3))
    text = m.generate(codes, 1, 2)
    m.to("cuda")
    # kernels sum in another order
    for ours, theirs in zip(here, m(ids.cuda(), given.cuda()), strict=True):
        torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-4, atol=1e-4)
    assert torch.equal(m.generate(codes.cuda(), 1, 2).cpu(), text)
    assert isinstance(m.down[0], nn.Linear)
    drawn = posterior.noise(5, 2, generator=torch.Generator("cuda").manual_seed(0))
    assert m(ids.cuda(), drawn)[0].isfinite().all()
