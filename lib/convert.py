"""Models of transformers as our own, with copied weights: BERT, RoFormer, GPT-2 and T5.

Each function takes the bare model of transformers (`BertModel`, `RoFormerModel`, `GPT2Model`, `T5Model`) and returns
ours with the same hidden states; dropout is left out, the peer is left as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from lib.attention import softmax_attention
from lib.biases import T5Bias
from lib.blocks import Attention, FeedForward
from lib.positions import rotary
from lib.transformer import Config, Encoder, EncoderDecoder, encoder

ACTIVATIONS = {
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


def _expect(peer: Any, kind: str, **settings: Any) -> None:
    """Raise unless the peer is of this class and its configuration says this."""
    if type(peer).__name__ != kind:
        raise ValueError(f"expected a {kind} of transformers, got {type(peer).__name__}")
    got = {name: getattr(peer.config, name) for name in settings}
    if any(got[name] not in (value if isinstance(value, tuple) else (value,)) for name, value in settings.items()):
        raise ValueError(f"expected a {kind} with {settings}, got {got}")


@torch.no_grad()
def _copy_(pairs: list[tuple[nn.Module, Any]]) -> None:
    """Copy weight and, where there is one, bias of the second of each pair into the first."""
    for ours, theirs in pairs:
        for name in ("weight", "bias"):
            if getattr(ours, name, None) is not None:
                source = getattr(theirs, name)
                conv = type(theirs).__name__ == "Conv1D" and name == "weight"  # GPT-2 stores (in, out)
                getattr(ours, name).copy_(source.T if conv else source)


def _bert_like(peer: Any, embeddings: Any, **parts: Any) -> Encoder:
    c = peer.config
    config = Config(
        c.vocab_size, c.hidden_size, c.num_attention_heads, c.num_hidden_layers, c.intermediate_size,
        max_len=None if "position" in parts else c.max_position_embeddings, segments=c.type_vocab_size, order="post",
    )  # fmt: skip
    feed = lambda s: FeedForward(s.d, s.width, ACTIVATIONS[c.hidden_act])  # noqa: E731
    ours = encoder(config, feed=feed, norm=partial(nn.LayerNorm, eps=c.layer_norm_eps), **parts)
    pairs = [
        (ours.embed.token, embeddings.word_embeddings),
        (ours.embed.segment, embeddings.token_type_embeddings),
        (ours.embed.norm, embeddings.LayerNorm),
    ]
    if ours.embed.position is not None:
        pairs.append((ours.embed.position, embeddings.position_embeddings))
    blocks: Any = ours.blocks
    for block, layer in zip(blocks, peer.encoder.layer, strict=True):
        inside, outside = layer.attention.self, layer.attention.output
        pairs += [(getattr(block.mixer, name), getattr(inside, name)) for name in ("query", "key", "value")]
        pairs += [
            (block.mixer.output, outside.dense),
            (block.norms[0], outside.LayerNorm),
            (block.feed.inner, layer.intermediate.dense),
            (block.feed.outer, layer.output.dense),
            (block.norms[1], layer.output.LayerNorm),
        ]
    _copy_(pairs)
    return ours


def from_bert(peer: Any) -> Encoder:
    """Our encoder with the weights of a `BertModel`."""
    _expect(peer, "BertModel", hidden_act=tuple(ACTIVATIONS), is_decoder=False)
    return _bert_like(peer, peer.embeddings)


def from_roformer(peer: Any) -> Encoder:
    """Our encoder with the weights of a `RoFormerModel`: rotary positions in the interleaved layout."""
    c_size = getattr(getattr(peer, "config", None), "hidden_size", None)
    _expect(
        peer,
        "RoFormerModel",
        hidden_act=tuple(ACTIVATIONS),
        is_decoder=False,
        embedding_size=c_size,
        rotary_value=False,
    )
    c = peer.config
    position = rotary(c.max_position_embeddings, c.hidden_size // c.num_attention_heads)
    return _bert_like(peer, peer.embeddings, position=position)


def from_gpt2(peer: Any) -> Encoder:
    """Our causal encoder with the weights of a `GPT2Model`."""
    _expect(peer, "GPT2Model", activation_function=tuple(ACTIVATIONS), scale_attn_by_inverse_layer_idx=False)
    c = peer.config
    hidden = c.n_inner or 4 * c.n_embd
    config = Config(c.vocab_size, c.n_embd, c.n_head, c.n_layer, hidden, max_len=c.n_positions, causal=True)
    feed = lambda s: FeedForward(s.d, s.width, ACTIVATIONS[c.activation_function])  # noqa: E731
    ours = encoder(config, feed=feed, norm=partial(nn.LayerNorm, eps=c.layer_norm_epsilon))
    pairs = [(ours.embed.token, peer.wte), (ours.embed.position, peer.wpe), (ours.final, peer.ln_f)]
    blocks: Any = ours.blocks
    for block, layer in zip(blocks, peer.h, strict=True):
        joint = layer.attn.c_attn  # queries, keys and values side by side
        weights, biases = joint.weight.T.chunk(3), joint.bias.chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            with torch.no_grad():
                getattr(block.mixer, name).weight.copy_(weight)
                getattr(block.mixer, name).bias.copy_(bias)
        pairs += [
            (block.mixer.output, layer.attn.c_proj),
            (block.feed.inner, layer.mlp.c_fc),
            (block.feed.outer, layer.mlp.c_proj),
            (block.norms[0], layer.ln_1),
            (block.norms[1], layer.ln_2),
        ]
    _copy_(pairs)
    return ours


def from_t5(peer: Any) -> EncoderDecoder:
    """Our encoder-decoder with the weights of a `T5Model`, the first version (ReLU) or the second (gated GELU)."""
    _expect(peer, "T5Model", dense_act_fn=tuple(ACTIVATIONS))
    c = peer.config
    attend = partial(softmax_attention, scale=1.0)

    def attention(config: Config, position: T5Bias | None = None) -> Attention:
        return Attention(config.d, config.heads, attend, position, config.head_size, bias=False)

    def stack(layers: int, causal: bool, theirs: Any) -> Encoder:
        bias = T5Bias(
            c.num_heads,
            both=not causal,
            buckets=c.relative_attention_num_buckets,
            furthest=c.relative_attention_max_distance,
        )
        ours = encoder(
            Config(c.vocab_size, c.d_model, c.num_heads, layers, c.d_ff, c.d_kv, causal=causal),
            mixer=lambda s: attention(s, bias),
            cross=attention if causal else None,
            feed=lambda s: FeedForward(s.d, s.width, ACTIVATIONS[c.dense_act_fn], bias=False, gated=c.is_gated_act),
            norm=partial(nn.RMSNorm, eps=c.layer_norm_epsilon),
        )
        pairs = [(ours.embed.token, peer.shared), (ours.final, theirs.final_layer_norm)]
        pairs.append((bias.table, theirs.block[0].layer[0].SelfAttention.relative_attention_bias))
        blocks: Any = ours.blocks
        for block, their in zip(blocks, theirs.block, strict=True):
            read = [(block.mixer, their.layer[0].SelfAttention)]
            read += [(block.cross, their.layer[1].EncDecAttention)] if causal else []
            for mine, other in read:
                names = zip(("query", "key", "value", "output"), "qkvo", strict=True)
                pairs += [(getattr(mine, long), getattr(other, short)) for long, short in names]
            pairs += [(norm, layer.layer_norm) for norm, layer in zip(block.norms, their.layer, strict=True)]
            feed = their.layer[-1].DenseReluDense
            pairs.append((block.feed.outer, feed.wo))
            pairs.append((block.feed.inner, feed.wi_0 if c.is_gated_act else feed.wi))
            pairs += [(block.feed.gate, feed.wi_1)] if c.is_gated_act else []
        _copy_(pairs)
        return ours

    ours = EncoderDecoder(stack(c.num_layers, False, peer.encoder), stack(c.num_decoder_layers, True, peer.decoder))
    ours.decoder.embed = ours.encoder.embed
    return ours
