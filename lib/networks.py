"""Small feed-forward, convolutional and recurrent networks that articles train in seconds.

Used in most articles that train something small. Axes: b batch, n positions, d channels, h hidden units, c classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lib.checks import at_least, checked, indices


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.GELU,
    *,
    bias: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int | None = None,
) -> nn.Sequential:
    """A multilayer perceptron `sizes[0] -> ... -> sizes[-1]` with the activation between the linear layers.

    With `seed` the initial weights do not depend on torch's global generator, which is left as it was.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be at least two positive integers, got {list(sizes)}")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out, bias=bias, dtype=dtype), activation()]
    return nn.Sequential(*layers[:-1])


class TextCNN(nn.Module):
    """Class logits from token embeddings: one convolution, GELU, maximum over positions, one linear layer."""

    def __init__(self, vocab: int, classes: int, d: int = 32, filters: int = 64, width: int = 3, *, seed: int = 0):
        super().__init__()
        if min(vocab, classes, d, filters, width) < 1 or width % 2 == 0:
            got = f"{vocab=}, {classes=}, {d=}, {filters=}, {width=}"
            raise ValueError(f"expected positive sizes and an odd width, got {got}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.embed = nn.Embedding(vocab, d, padding_idx=0)
            self.conv = nn.Conv1d(d, filters, width, padding=width // 2)
            self.head = nn.Linear(filters, classes)

    @checked
    def from_embeddings(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b c"]:
        """Logits from embedded tokens: the part of the network that attribution differentiates."""
        return self.head(nn.functional.gelu(self.conv(x.mT)).amax(-1))

    @checked
    def forward(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b c"]:
        """Logits from token ids; id 0 is padding and embeds to zero."""
        indices("ids", ids, self.embed.num_embeddings)
        return self.from_embeddings(self.embed(ids))


class GRULM(nn.Module):
    """A recurrent language model: token embeddings, one gated recurrent unit, next-token logits.

    Written in plain tensor operations, so that `torch.func.vmap` maps it over stacked parameters.
    """

    def __init__(self, vocab: int, d: int = 16, hidden: int = 32, *, seed: int = 0):
        super().__init__()
        if min(vocab, d, hidden) < 1:
            raise ValueError(f"expected positive sizes, got {vocab=}, {d=}, {hidden=}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.embed = nn.Embedding(vocab, d)
            self.inputs = nn.Linear(d, 3 * hidden)
            self.state = nn.Linear(hidden, 3 * hidden)
            self.head = nn.Linear(hidden, vocab)

    def _step(self, x: Float[Tensor, "b gates"], state: Float[Tensor, "b h"]) -> Float[Tensor, "b h"]:
        """The next state from the embedded token's part of the gates, which are those of `torch.nn.GRU`."""
        (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, -1), self.state(state).chunk(3, -1)
        z = torch.sigmoid(x_z + h_z)
        return (1 - z) * torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n) + z * state

    @checked
    def forward(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n c"]:
        """Logits of the next token after every position."""
        indices("ids", ids, self.embed.num_embeddings)
        state, states = self.head.weight.new_zeros(len(ids), self.state.in_features), []
        for x in self.inputs(self.embed(ids)).unbind(1):
            state = self._step(x, state)
            states.append(state)
        return self.head(torch.stack(states, 1))

    @checked
    def decode(
        self,
        prompt: Int[Tensor, "b n"],
        length: int,
        choose: Callable[[Tensor], Tensor] = lambda logits: logits.argmax(-1),
    ) -> Int[Tensor, "b length"]:
        """`length` tokens after the prompt, each chosen from its logits: by default greedily, ties to the lowest id."""
        indices("prompt", prompt, self.embed.num_embeddings)
        at_least(1, length=length)
        state, tokens = self.head.weight.new_zeros(len(prompt), self.state.in_features), []
        for x in self.inputs(self.embed(prompt[:, :-1])).unbind(1):
            state = self._step(x, state)
        token = prompt[:, -1]
        for _ in range(length):
            state = self._step(self.inputs(self.embed(token)), state)
            token = choose(self.head(state))
            tokens.append(token)
        return torch.stack(tokens, 1)
