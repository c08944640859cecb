"""Parity with transformers on tiny random models: hidden states equal to 1e-5 of their size."""

import pytest
import torch
from torch import nn

from lib import convert
from lib.cache import Cache
from lib.masks import padding

IDS = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))
KEEP = torch.ones(2, 9, dtype=torch.bool)
KEEP[1, 6:] = False
SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def randomised(model):
    """Biases and norms start at 0 and 1, which would hide a mix-up; the sinusoids of RoFormer stay."""
    torch.manual_seed(0)
    for name, p in model.named_parameters():
        if "embed_positions" not in name:
            nn.init.normal_(p, std=0.3)
    return model.eval()


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("kind", ["Bert", "RoFormer"])
def test_bert_and_roformer(kind):
    import transformers

    config = getattr(transformers, f"{kind}Config")(**SIZES, intermediate_size=48, max_position_embeddings=16)
    peer = randomised(getattr(transformers, f"{kind}Model")(config))
    ours = getattr(convert, f"from_{kind.lower()}")(peer)
    segments = torch.tensor([[0] * 4 + [1] * 5] * 2)
    theirs = peer(IDS, attention_mask=KEEP.long(), token_type_ids=segments).last_hidden_state
    close(ours(IDS, padding(KEEP), segments=segments)[KEEP], theirs[KEEP])


def test_gpt2_with_and_without_a_cache():
    from transformers import GPT2Config, GPT2Model

    peer = randomised(GPT2Model(GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=16)))
    ours, theirs, cache = convert.from_gpt2(peer), peer(IDS).last_hidden_state, Cache(9)
    close(ours(IDS), theirs)
    close(torch.cat([ours(part, cache=cache) for part in IDS.split(1, 1)], 1), theirs)


@pytest.mark.parametrize("feed", ["relu", "gated-gelu"])
def test_t5(feed):
    from transformers import T5Config, T5Model

    config = T5Config(
        vocab_size=50, d_model=32, d_kv=6, d_ff=40, num_layers=2, num_decoder_layers=3, num_heads=4,
        relative_attention_num_buckets=8, relative_attention_max_distance=12, feed_forward_proj=feed,
    )  # fmt: skip
    peer = randomised(T5Model(config))
    out = IDS.flip(1)[:, :5]
    theirs = peer(input_ids=IDS, attention_mask=KEEP.long(), decoder_input_ids=out).last_hidden_state
    ours = convert.from_t5(peer)
    close(ours(IDS, out, padding(KEEP)), theirs)
    cache, source = Cache(5), ours.encoder(IDS, padding(KEEP))
    steps = [ours.decoder(o, cache=cache, source=source, source_mask=padding(KEEP)) for o in out.split(1, 1)]
    close(torch.cat(steps, 1), theirs)


def test_what_cannot_be_converted_is_refused():
    from transformers import BertConfig, BertModel

    with pytest.raises(ValueError, match="expected a GPT2Model of transformers, got Linear"):
        convert.from_gpt2(nn.Linear(2, 2))
    peer = BertModel(BertConfig(**SIZES, intermediate_size=48, hidden_act="mish"))
    with pytest.raises(ValueError, match="mish"):
        convert.from_bert(peer)
