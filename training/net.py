"""The demo model in torch: a Qwen3.5 text model and the vision tower in front of it.

It computes what llama.cpp computes for the architectures ``qwen35`` and ``qwen3vl_merger``
(``src/models/qwen35.cpp``, ``tools/mtmd/models/qwen3vl.cpp``), in llama.cpp's conventions: norm
weights are multiplied as they are, the value heads are in llama.cpp's (tiled) order, the GELUs are
the tanh ones. So exporting renames tensors and rearranges none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor, nn

CHUNK = 64
"""Tokens of the delta rule computed at once."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; all row lengths are multiples of 32, as Q8_0 wants them.

    `layers` has one letter a layer: ``d`` a gated delta net, ``a`` gated attention.
    """

    n_vocab: int = 1024
    width: int = 192
    layers: str = "dadada"
    ffn: int = 384
    heads: int = 4
    kv_heads: int = 2
    head: int = 64
    rotary: int = 32
    sections: tuple[int, int, int] = (6, 5, 5)
    theta: float = 10_000.0
    key_heads: int = 4
    value_heads: int = 4
    state: int = 32
    conv: int = 4
    epsilon: float = 1e-6
    vision_width: int = 128
    vision_layers: int = 4
    vision_heads: int = 4
    vision_ffn: int = 256
    patch: int = 16
    grid: int = 8

    def dictionary(self) -> dict[str, Any]:
        """The sizes by name, for a checkpoint."""
        return asdict(self)


@cache
def has_bfloat16(device: str) -> bool:
    """Whether a kind of device multiplies matrices in bfloat16 faster than in float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def quick(device: str) -> torch.autocast:
    """Matrix products in bfloat16 where that is faster; weights and sums stay float32."""
    return torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(device))


def precise(x: Tensor) -> torch.autocast:
    """Everything in float32, whatever is around it."""
    return torch.autocast(x.device.type, enabled=False)


def attention(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool = False) -> Tensor:
    """Of torch, in float32: on a CPU its backward pass takes longer in bfloat16."""
    with precise(q):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=is_causal)


class Norm(nn.Module):
    """RMS norm with weights."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalised over the last dimension, in float32 whatever comes."""
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.epsilon)
        return (y * self.weight).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention with normed queries and keys and an output gate."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        # A head's query and its gate stand side by side.
        self.q = nn.Linear(shape.width, 2 * shape.heads * shape.head, bias=False)
        self.kv = nn.Linear(shape.width, 2 * shape.kv_heads * shape.head, bias=False)
        self.q_norm = Norm(shape.head, shape.epsilon)
        self.k_norm = Norm(shape.head, shape.epsilon)
        self.out = nn.Linear(shape.heads * shape.head, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """(batch, tokens, width) to the same; `rotation` as `rotations` gives it."""
        batch, tokens, _ = x.shape
        shape = self.shape
        q, gate = self.q(x).view(batch, tokens, shape.heads, 2 * shape.head).chunk(2, -1)
        k, v = self.kv(x).view(batch, tokens, 2, shape.kv_heads, shape.head).unbind(2)
        q = rotate(self.q_norm(q), rotation).transpose(1, 2)
        k = rotate(self.k_norm(k), rotation).transpose(1, 2)
        group = shape.heads // shape.kv_heads
        k = k.repeat_interleave(group, 1)
        v = v.transpose(1, 2).repeat_interleave(group, 1)
        # Padding stands on the right, where no real token looks.
        y = attention(q, k, v, is_causal=True).transpose(1, 2)
        return self.out((y * torch.sigmoid(gate)).reshape(batch, tokens, -1))


class DeltaNet(nn.Module):
    """Gated delta net: a state of fixed size, written by the delta rule (arXiv:2412.06464)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        keys, values = shape.key_heads * shape.state, shape.value_heads * shape.state
        self.qkv = nn.Linear(shape.width, 2 * keys + values, bias=False)
        self.z = nn.Linear(shape.width, values, bias=False)
        self.beta = nn.Linear(shape.width, shape.value_heads, bias=False)
        self.alpha = nn.Linear(shape.width, shape.value_heads, bias=False)
        self.conv = nn.Parameter(torch.empty(2 * keys + values, shape.conv))
        self.a_log = nn.Parameter(torch.empty(shape.value_heads))
        self.dt = nn.Parameter(torch.empty(shape.value_heads))
        self.norm = Norm(shape.state, shape.epsilon)
        self.out = nn.Linear(values, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        batch, tokens, _ = x.shape
        shape = self.shape
        mixed = self.qkv(x)
        padded = F.pad(mixed, (0, 0, shape.conv - 1, 0))
        total = padded[:, :tokens] * self.conv[:, 0]
        for tap in range(1, shape.conv):
            total = total + padded[:, tap : tap + tokens] * self.conv[:, tap]
        mixed = F.silu(total).view(batch, tokens, -1, shape.state).transpose(1, 2)
        heads = (shape.key_heads, shape.key_heads, shape.value_heads)
        q, k, v = mixed.float().split(heads, 1)
        beta = torch.sigmoid(self.beta(x).float()).transpose(1, 2)
        gate = -self.a_log.exp() * F.softplus(self.alpha(x).float() + self.dt)
        repeat = shape.value_heads // shape.key_heads
        q = _unit(q, shape.epsilon).repeat(1, repeat, 1, 1) * shape.state**-0.5
        k = _unit(k, shape.epsilon).repeat(1, repeat, 1, 1)
        with precise(x):
            y = delta_rule(q, k, v, beta, gate.transpose(1, 2)).transpose(1, 2)
        z = self.z(x).view(batch, tokens, shape.value_heads, shape.state)
        y = self.norm(y.to(x.dtype)) * F.silu(z)
        return self.out(y.reshape(batch, tokens, -1))


def _unit(x: Tensor, epsilon: float) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + epsilon)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, gate: Tensor) -> Tensor:
    """What a gated delta net reads, for all tokens, in chunks (arXiv:2412.06464, section 3.3).

    For every token the state, a matrix keys x values, shrinks by exp(gate), takes
    beta * k (v - k state), and is read with q.

    Parameters
    ----------
    q, k, v : (batch, heads, tokens, size) float32
    beta, gate : (batch, heads, tokens) float32; gate <= 0

    Returns
    -------
    (batch, heads, tokens, size) float32
    """
    batch, heads, tokens, size = q.shape
    pad = -tokens % CHUNK
    if pad:
        q, k, v = (F.pad(x, (0, 0, 0, pad)) for x in (q, k, v))
        beta, gate = F.pad(beta, (0, pad)), F.pad(gate, (0, pad))
    n = (tokens + pad) // CHUNK
    q, k, v = (x.reshape(batch * heads, n, CHUNK, size) for x in (q, k, v))
    beta, gate = (x.reshape(batch * heads, n, CHUNK) for x in (beta, gate))
    total = gate.cumsum(-1)
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
    # Masked before exp: above the diagonal it would overflow.
    decay = (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill(~lower, -torch.inf).exp()
    beta = beta.unsqueeze(-1)
    system = ((k * beta) @ k.mT * decay).tril(-1)
    since = total.exp().unsqueeze(-1)
    right = torch.cat((v * beta, k * beta * since), -1)
    written, erased = _solve(system, right).split(size, -1)
    inside = q @ k.mT * decay
    q = q * since
    rest = (total[..., -1:] - total).exp().unsqueeze(-1)
    k, last = k * rest, since[:, :, -1:]
    state = q.new_zeros(batch * heads, size, size)
    parts = []
    for q_, k_, inside_, written_, erased_, last_ in zip(
        q.unbind(1), k.unbind(1), inside.unbind(1), written.unbind(1), erased.unbind(1),
        last.unbind(1), strict=True,
    ):  # fmt: skip
        new = written_ - erased_ @ state
        parts.append(q_ @ state + inside_ @ new)
        state = state * last_ + k_.mT @ new
    y = torch.stack(parts, 1).reshape(batch, heads, n * CHUNK, size)
    return y[:, :, :tokens]


def _solve(system: Tensor, right: Tensor) -> Tensor:
    """(1 + system)^-1 right, for a strictly lower triangular system."""
    return torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    """One layer: attention or delta net, then the feed-forward part, each after a norm."""

    def __init__(self, shape: Shape, kind: str) -> None:
        super().__init__()
        self.norm = Norm(shape.width, shape.epsilon)
        self.mixer = Attention(shape) if kind == "a" else DeltaNet(shape)
        self.post_norm = Norm(shape.width, shape.epsilon)
        self.mlp = Mlp(shape.width, shape.ffn)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """(batch, tokens, width) to the same."""
        y = self.norm(x)
        x = x + (self.mixer(y, rotation) if isinstance(self.mixer, Attention) else self.mixer(y))
        return x + self.mlp(self.post_norm(x))


class Text(nn.Module):
    """The language model: embeddings in, hidden states out; the output shares the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.n_vocab, shape.width)
        self.blocks = nn.ModuleList(Block(shape, kind) for kind in shape.layers)
        self.norm = Norm(shape.width, shape.epsilon)

    def forward(self, x: Tensor, positions: Tensor) -> list[Tensor]:
        """Hidden states behind each layer, (batch, tokens, width).

        Parameters
        ----------
        x : (batch, tokens, width)
        positions : (3, batch, tokens) int64, time, row and column (`positions`)
        """
        rotation = rotations(positions, self.shape)
        states = []
        for block in self.blocks:
            x = block(x, rotation)
            states.append(x)
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """States behind the last layer, (..., width), to (..., n_vocab)."""
        return F.linear(self.norm(hidden), self.embed.weight)


def rotations(positions: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines (batch, tokens, 1, rotary / 2) of interleaved M-RoPE.

    Pair i turns with the time, the row or the column, i % 3 telling which (ggml's IMROPE); the
    sections cover every pair, or llama.cpp takes the fourth position for the rest.
    """
    half = shape.rotary // 2
    steps = torch.arange(half, device=positions.device)
    speed = shape.theta ** (-steps.float() / half)
    axis = torch.where(steps < 3 * torch.tensor(shape.sections, device=steps.device)[steps % 3],
                       steps % 3, 0)  # fmt: skip
    angles = positions.float()[axis].permute(1, 2, 0) * speed
    return angles.cos().unsqueeze(2), angles.sin().unsqueeze(2)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (i, i + half) of the last dimension; what is beyond them stays."""
    cos, sin = rotation
    half = cos.shape[-1]
    first, second, rest = x.split((half, half, x.shape[-1] - 2 * half), -1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat((*(part.to(x.dtype) for part in turned), rest), -1)


class VisionBlock(nn.Module):
    """One layer of the vision tower: every patch sees every other one of its picture."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width, 1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width, 1e-6)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """(pictures, patches, width) to the same."""
        shape = x.shape
        qkv = self.qkv(self.ln1(x)).view(*shape[:2], 3, self.heads, -1)
        q, k, v = qkv.unbind(2)
        q, k = rotate(q, rotation).transpose(1, 2), rotate(k, rotation).transpose(1, 2)
        y = attention(q, k, v.transpose(1, 2))
        x = x + self.out(y.transpose(1, 2).reshape(shape))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))


class Vision(nn.Module):
    """Pictures to embeddings of the language model, one for each 2 x 2 patches."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.vision_width
        self.shape = shape
        self.patch = nn.Linear(3 * shape.patch**2, width)
        self.position = nn.Parameter(torch.empty(shape.grid, shape.grid, width))
        self.blocks = nn.ModuleList(
            VisionBlock(width, shape.vision_heads, shape.vision_ffn)
            for _ in range(shape.vision_layers)
        )
        self.norm = nn.LayerNorm(width, 1e-6)
        self.merge = nn.Linear(4 * width, 4 * width)
        self.project = nn.Linear(4 * width, shape.width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings (pictures, tokens, width), rows first.

        Parameters
        ----------
        pixels : (pictures, height, width, 3) uint8, sides multiples of twice the patch
        """
        patches, rows, columns = self._patches(pixels)
        x = self.patch(patches) + self._positions(rows, columns)
        rotation = self._rotation(rows, columns, pixels.device)
        for block in self.blocks:
            x = block(x, rotation)
        x = self.norm(x)
        x = x.reshape(len(pixels), rows * columns // 4, -1)
        return self.project(F.gelu(self.merge(x), approximate="tanh"))

    def _patches(self, pixels: Tensor) -> tuple[Tensor, int, int]:
        """Patches in blocks of 2 x 2, each patch colours x rows x columns."""
        n, height, width, _ = pixels.shape
        side = self.shape.patch
        rows, columns = height // side, width // side
        x = pixels.float() / 127.5 - 1
        x = x.view(n, rows // 2, 2, side, columns // 2, 2, side, 3)
        x = x.permute(0, 1, 4, 2, 5, 7, 3, 6)
        return x.reshape(n, rows * columns, 3 * side * side), rows, columns

    def _positions(self, rows: int, columns: int) -> Tensor:
        grid = self.position.permute(2, 0, 1).unsqueeze(0)
        if (rows, columns) != (self.shape.grid, self.shape.grid):
            grid = F.interpolate(grid, (rows, columns), mode="bilinear", align_corners=True)
        return _blocks(grid[0].permute(1, 2, 0))

    def _rotation(self, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        quarter = self.shape.vision_width // self.shape.vision_heads // 4
        speed = 10_000.0 ** (-torch.arange(quarter, device=device) / quarter)
        places = torch.stack(
            torch.meshgrid(
                torch.arange(rows, device=device), torch.arange(columns, device=device),
                indexing="ij",
            ), -1,
        )  # fmt: skip
        angles = (_blocks(places).unsqueeze(-1) * speed).flatten(-2)
        return angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)


def _blocks(grid: Tensor) -> Tensor:
    """(rows, columns, n) to (rows * columns, n), 2 x 2 blocks one after the other."""
    rows, columns, n = grid.shape
    blocks = grid.reshape(rows // 2, 2, columns // 2, 2, n).permute(0, 2, 1, 3, 4)
    return blocks.reshape(rows * columns, n)


class Model(nn.Module):
    """Both parts."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.text = Text(shape)
        self.vision = Vision(shape)
        self._initialise()

    def embed(self, ids: Tensor, seen: Tensor, places: Tensor) -> Tensor:
        """Embeddings of tokens, with those of pictures put in their places.

        Parameters
        ----------
        ids : (batch, tokens) int64
        seen : (image tokens, width)
        places : (image tokens,) int64, where they stand in the flattened `ids`
        """
        x = self.text.embed(ids)
        return x.flatten(0, 1).index_copy(0, places, seen.to(x.dtype)).view_as(x)

    @torch.no_grad()
    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, DeltaNet):
                nn.init.normal_(module.conv, std=0.5)
                # States that halve within a few to a few hundred tokens.
                module.a_log.copy_(torch.linspace(1.0, 8.0, len(module.a_log)).log())
                step = torch.logspace(-3, -1, len(module.dt)).flip(0)
                module.dt.copy_(step.expm1().log())
        for block in (*self.text.blocks, *self.vision.blocks):
            outputs = (
                (block.mixer.out, block.mlp.down)
                if isinstance(block, Block)
                else (block.out, block.down)
            )
            for output in outputs:
                output.weight.mul_(0.3)
        nn.init.normal_(self.text.embed.weight, std=self.shape.width**-0.5)
        nn.init.normal_(self.vision.position, std=0.3)
