"""Which rows a member learns from and which nobody learns from: fixed by a row's own content, so that a refit changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from genrl.transitions import Transitions

__all__ = ["BootstrapRows", "bootstrap", "follows", "held_out", "row_hash", "windows"]

HELD_OUT_MOST = 2000
"""Held-out rows that are looked at, evenly spaced if there are more."""
# CDF of a Poisson distribution of mean 1, which is what a bootstrap of many rows gives each row.
_POISSON = (0.36788, 0.73576, 0.91970, 0.98101, 0.99634, 0.99941)
_ODD = -7046029254386353131  # 2⁶⁴ / golden ratio, odd, as a signed integer


def row_hash(transitions: Transitions) -> Int[Tensor, "batch"]:
    """A 64-bit hash of each transition's numbers, int64 ``(batch,)``, whatever other rows stand around it.

    The first of several equal rows has always the same hash, the second another one, and so on: a task of few states has few different
    rows, and each of them is fitted by every member and held out, but not at every visit.
    """
    columns = [field.reshape(len(field), -1).float() + 0.0 for field in transitions[:3]]  # + 0.0: −0 is 0
    bits = torch.cat(columns, dim=1).contiguous().view(torch.int32).long()
    key = torch.arange(1, bits.shape[1] + 1, device=bits.device) * _ODD
    hashes = _mixed((_mixed(bits + key)).sum(1))
    found, order = hashes.sort(stable=True)
    visit = torch.empty_like(order)
    visit[order] = torch.arange(len(found), device=found.device) - torch.searchsorted(found, found)  # equal rows before it
    return hashes ^ _mixed(visit)  # of which 0 stays 0


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of MurmurHash3: every bit of the result depends on every bit of ``x``."""
    for factor in (-49064778989728563, -4265267296055464877):
        x = (x ^ ((x >> 33) & 0x7FFFFFFF)) * factor
    return x ^ ((x >> 33) & 0x7FFFFFFF)


def _uniform(hashes: Tensor, salt: Tensor | int) -> Tensor:
    """Uniform numbers in [0, 1), one for each hash and salt."""
    return ((_mixed(hashes + salt * _ODD) >> 11) & (2**53 - 1)).double() / 2**53


def bootstrap(hashes: Int[Tensor, "batch"], members: int, seed: int = 0) -> Int[Tensor, "member batch"]:
    """How often each member has each row in its bootstrap, ``(member, batch)``: independent Poisson draws of mean 1, for good.

    A member lacks 37 % of all rows, and always the same. Without that, refits on redrawn bootstraps make the members alike.
    """
    salts = torch.arange(1, members + 1, device=hashes.device) + 1000 * seed
    draws = _uniform(hashes, salts[:, None])
    return (draws[..., None] > torch.tensor(_POISSON, device=hashes.device)).sum(-1)


def follows(transitions: Transitions) -> Bool[Tensor, "batch"]:
    """Whether each row goes on where the row before it ended, boolean ``(batch,)``; rows stand in the order of time."""
    obs, next_obs = transitions.obs.flatten(1), transitions.next_obs.flatten(1)
    goes_on = torch.zeros(len(obs), dtype=torch.bool, device=obs.device)
    goes_on[1:] = (obs[1:] == next_obs[:-1]).all(1) & ~transitions.terminated[:-1]
    return goes_on


def held_out(transitions: Transitions, share: float, length: int = 10) -> Bool[Tensor, "batch"]:
    """Rows on which no member is fitted, boolean ``(batch,)``: stretches of ``length`` successive rows, about ``share`` of all."""
    goes_on = follows(transitions)
    length = length if goes_on.double().mean() > 0.5 else 1
    opens = _uniform(row_hash(transitions), 0) < share / length
    held = opens.clone()
    for _ in range(length - 1):
        held[1:] = opens[1:] | (held[:-1] & goes_on[1:])
    return held


def windows(transitions: Transitions, length: int, among: Bool[Tensor, "batch"] | None = None) -> Int[Tensor, "window length"]:
    """Row indices of all stretches of ``length`` successive rows, ``(window, length)``; only of rows that are ``among`` where given."""
    n = transitions.batch_size
    joined = follows(transitions)
    if among is not None:
        joined = joined & among & torch.cat([among[:1], among[:-1]])
    whole = torch.ones(max(n - length + 1, 0), dtype=torch.bool, device=joined.device)
    if among is not None:
        whole &= among[: len(whole)]
    for step in range(1, length):
        whole &= joined[step : step + len(whole)]
    return whole.nonzero() + torch.arange(length, device=joined.device)


class BootstrapRows:
    """Standardised rows, as batches in which every member has rows of its own bootstrap.

    Args:
        inputs, targets: ``(row, input)`` and ``(row, output)``.
        ends: whether an episode terminated, ``(row,)``.
        held: rows that no member sees, ``(row,)``.
        counts: how often each member has each row, ``(member, row)``.
        generator: of the batches, on the CPU.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, ends: Tensor, held: Tensor, counts: Tensor, generator: torch.Generator) -> None:
        self.inputs, self.targets, self.ends, self.generator = inputs, targets, ends.to(inputs.dtype), generator
        counts = counts * ~held
        every = torch.arange(len(held), device=inputs.device)
        bags = [torch.repeat_interleave(every, count) for count in counts]
        self.sizes = torch.tensor([len(bag) for bag in bags], device=inputs.device)
        self.bags = pad_sequence(bags, batch_first=True)  # (member, longest bag)
        self.held = held.nonzero()[:, 0]
        if len(self.held) > HELD_OUT_MOST:
            self.held = self.held[torch.linspace(0, len(self.held) - 1, HELD_OUT_MOST).long()]

    def like(self, inputs: Tensor, targets: Tensor) -> BootstrapRows:
        """These rows and bootstraps in other units."""
        other: BootstrapRows = object.__new__(BootstrapRows)
        vars(other).update(vars(self) | {"inputs": inputs, "targets": targets})
        return other

    def batches(self, steps: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Inputs, targets and ends, each ``(member, batch, …)``."""
        for _ in range(steps):
            draws = torch.rand(len(self.sizes), batch_size, generator=self.generator, dtype=torch.float64).to(self.bags.device)
            rows = self.bags.gather(1, (draws * self.sizes[:, None]).long())
            yield self.inputs[rows], self.targets[rows], self.ends[rows]
