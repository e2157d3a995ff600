"""A causal transformer: a density of sequences of codes, whose sampling computes each place once."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.errors import require
from genrl.models.labels import checked_labels

__all__ = ["CausalTransformer"]

_AT_ONCE = 500
"""Sequences sampled together; their keys and values stay below some hundred megabytes."""


class _Memory:
    """Keys and values of one layer for the places so far, with room for a whole sequence."""

    def __init__(self, n: int, heads: int, length: int, size: int, like: Tensor) -> None:
        self.keys, self.values = like.new_empty(2, n, heads, length, size)
        self.seen = 0

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values; return all of them, ``(n, head, time, size)``."""
        end = self.seen + keys.shape[2]
        self.keys[:, :, self.seen : end], self.values[:, :, self.seen : end], self.seen = keys, values, end
        return self.keys[:, :, :end], self.values[:, :, :end]


class _Block(nn.Module):
    """Attention to the places so far, then a layer for each place alone; both normalise first, and are added to their input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.place_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, memory: _Memory | None = None) -> Tensor:
        parts = self.project(self.attention_norm(x)).unflatten(2, (3, self.heads, -1))  # (batch, time, 3, head, size)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if memory is not None:
            key, value = memory.add(key, value)
        x = x + self.mix(_attend(query, key, value).transpose(1, 2).flatten(2))
        out: Tensor = x + self.down(F.gelu(self.up(self.place_norm(x))))
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of each query to the keys at its own place and before, ``(batch, head, time, size)``; the last query has the last key's
    place.

    Not ``F.scaled_dot_product_attention``: in bfloat16 on a processor that takes 5 times as long (81 against 15 ms, both ways, for
    128 sequences of 49 places, 4 heads of 32; torch 2.13).
    """
    score = (query / math.sqrt(query.shape[3])) @ key.transpose(2, 3)
    queries, keys = score.shape[2:]
    if queries > 1:
        later = torch.ones(queries, keys, dtype=torch.bool, device=score.device).triu(1 + keys - queries)
        score = score.masked_fill(later, -math.inf)
    return score.softmax(3) @ value


class CausalTransformer(nn.Module):
    r"""A density of sequences of codes, each of which depends on those before it.

    .. math:: \log p(c) = \sum_t \log p(c_t \mid c_{<t}, y)

    The input at place t is the code before it plus a learned vector for the place. The first input is a start token, of which there is one
    for each class y.

    Args:
        n_codes: number of codes; codes are whole numbers below it.
        length: length of the longest sequence.
        width: size of the vector at each place.
        depth: number of layers.
        heads: number of heads of the attention, which divides ``width``.
        n_classes: number of classes; 0 for sequences without labels.

    Raises:
        ValueError: a value out of its range; when it is called, codes or labels of another shape or out of range.

    References:
        Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762.
        Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020, arXiv:2002.04745 (normalised first).
        Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (the initial weights: 0.02, and less by
        :math:`\sqrt{2\,\mathrm{depth}}` for what is added).

    Example:
        >>> model = CausalTransformer(10, 6, width=16, depth=2, heads=2)
        >>> codes = model.sample(3)
        >>> codes.shape, codes.dtype, model.log_prob(codes).shape
        (torch.Size([3, 6]), torch.int64, torch.Size([3]))
    """

    def __init__(self, n_codes: int, length: int, *, width: int = 128, depth: int = 4, heads: int = 4, n_classes: int = 0) -> None:
        super().__init__()
        require(
            type(self),
            ("n_codes", n_codes, n_codes >= 1, "at least 1"),
            ("length", length, length >= 1, "at least 1"),
            ("depth", depth, depth >= 1, "at least 1"),
            ("heads", heads, heads >= 1, "at least 1"),
            ("width", width, width >= 1 and width % max(heads, 1) == 0, f"a multiple of the {heads} heads"),
            ("n_classes", n_classes, n_classes >= 0, "at least 0"),
        )
        self.n_codes, self.length, self.n_classes, self.heads = n_codes, length, n_classes, heads
        self.start, self.code = nn.Embedding(max(n_classes, 1), width), nn.Embedding(n_codes, width)
        self.place = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_codes)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                added = name.endswith((".mix", ".down"))
                nn.init.normal_(module.weight, std=0.02 / (math.sqrt(2 * depth) if added else 1))
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(
        self, codes: Shaped[Tensor, "batch time"], labels: Shaped[Tensor, "batch"] | None = None
    ) -> Float[Tensor, "batch time code"]:
        """Logits of each code given those before it.

        Args:
            codes: whole sequences or their beginnings, int64.
            labels: classes of the sequences, int64, for a model with classes.
        """
        self._check(codes, labels, "1 to ", 1)
        return self._logits(self._inputs(codes[:, :-1], labels))

    def log_prob(self, codes: Int[Tensor, "batch time"], labels: Int[Tensor, "batch"] | None = None) -> Float[Tensor, "batch"]:
        """log p(codes), in nats; for the beginning of a sequence, its marginal probability."""
        log_p = self(codes, labels).log_softmax(2)
        return log_p.gather(2, codes.unsqueeze(2)).sum((1, 2))

    def loss(self, codes: Int[Tensor, "batch time"], labels: Int[Tensor, "batch"] | None = None) -> Float[Tensor, ""]:
        """Minus the mean log likelihood, in nats per sequence."""
        return -self.log_prob(codes, labels).mean()

    # --- sampling ---

    @torch.no_grad()
    def sample(
        self,
        n: int,
        noise: Tensor | None = None,
        given: Tensor | None = None,
        labels: Tensor | None = None,
        temperature: float = 1.0,
    ) -> Int[Tensor, "{n} {self.length}"]:
        """Draw sequences code by code; keys and values are kept, so that a step computes one place only.

        Args:
            n: number of sequences.
            noise: uniform numbers in [0, 1), ``(n, length)``, each of which decides a code; by default drawn.
            given: the first codes of the sequences, int64 ``(n, time)``.
            labels: classes of the sequences, int64 ``(n,)``, for a model with classes.
            temperature: divides the logits, above 0.
        """
        noise, given = self._sampled(n, noise, given, labels, temperature)
        parts = [given.new_empty(0, self.length)]
        for rows in torch.arange(n).split(_AT_ONCE):
            parts.append(self._sample(noise[rows], given[rows], None if labels is None else labels[rows], temperature))
        return torch.cat(parts)

    def _sample(self, noise: Tensor, given: Tensor, labels: Tensor | None, temperature: float) -> Tensor:
        size = self.place.shape[1] // self.heads
        memories = [_Memory(len(noise), self.heads, self.length, size, self.place) for _ in self.blocks]
        codes, x = given, self._inputs(given[:, : self.length - 1], labels)
        for place in range(given.shape[1], self.length):
            codes = torch.cat([codes, _draw(self._logits(x, memories)[:, -1], noise[:, place], temperature)], 1)
            x = self.code(codes[:, -1:]) + self.place[(place + 1) % self.length]  # after the last place, never used
        return codes

    @torch.no_grad()
    def sample_plainly(
        self,
        n: int,
        noise: Tensor | None = None,
        given: Tensor | None = None,
        labels: Tensor | None = None,
        temperature: float = 1.0,
    ) -> Int[Tensor, "{n} {self.length}"]:
        """The sequences of :meth:`sample` by the plain loop, the whole network for every code: the reference for tests and timings."""
        noise, codes = self._sampled(n, noise, given, labels, temperature)
        for place in range(codes.shape[1], self.length):
            codes = torch.cat([codes, _draw(self._logits(self._inputs(codes, labels))[:, -1], noise[:, place], temperature)], 1)
        return codes

    # --- parts ---

    def _inputs(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Input of the first layer: the start token, then the codes, each one place later, ``(batch, 1 + time, width)``."""
        start = self.start(codes.new_zeros(len(codes)) if labels is None else labels)
        return torch.cat([start.unsqueeze(1), self.code(codes)], 1) + self.place[: 1 + codes.shape[1]]

    def _logits(self, x: Tensor, memories: list[_Memory] | None = None) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, None if memories is None else memories[index])
        return self.head(self.norm(x)).to(self.place.dtype)

    def _sampled(
        self, n: int, noise: Tensor | None, given: Tensor | None, labels: Tensor | None, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """The noise and the first codes, checked."""
        if not 0 < temperature < math.inf:
            raise ValueError(f"sampling needs temperature to be above 0 and finite, but was given {temperature}")
        noise = torch.rand(n, self.length, device=self.place.device) if noise is None else noise
        if tuple(noise.shape) != (n, self.length):
            raise ValueError(f"sampling needs noise of shape {(n, self.length)}, but was given {tuple(noise.shape)}")
        given = torch.empty(n, 0, dtype=torch.int64, device=self.place.device) if given is None else given
        if len(given) != n:
            raise ValueError(f"sampling {n} sequences needs as many given beginnings, but was given {len(given)}")
        self._check(given, labels, "up to ", 0)
        return noise, given

    def _check(self, codes: Tensor, labels: Tensor | None, words: str, least: int) -> None:
        if codes.dtype != torch.int64 or codes.ndim != 2 or not least <= codes.shape[1] <= self.length:
            raise ValueError(
                f"CausalTransformer models int64 codes of shape (batch, {words}{self.length}), but was given {codes.dtype} of shape "
                f"{tuple(codes.shape)}"
            )
        if codes.numel() and (codes.min() < 0 or codes.max() >= self.n_codes):
            raise ValueError(f"CausalTransformer models codes from 0 to {self.n_codes - 1}, but was given {_range(codes)}")
        if (labels is not None) != (self.n_classes > 0):
            given = "without" if labels is None else "with"
            raise ValueError(f"CausalTransformer has n_classes={self.n_classes}, but was called {given} labels")
        if labels is not None:
            checked_labels(labels, len(codes), self.n_classes, "CausalTransformer")

    def extra_repr(self) -> str:
        return f"n_codes={self.n_codes}, length={self.length}, heads={self.heads}, n_classes={self.n_classes}"


def _draw(logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """The code at which the distribution function passes the noise, ``(n, 1)``."""
    p = (logits / temperature).softmax(1)
    return (p.cumsum(1) < noise[:, None]).sum(1, keepdim=True).clamp_max(logits.shape[1] - 1)


def _range(values: Tensor) -> str:
    return f"{int(values.min())} to {int(values.max())}"
