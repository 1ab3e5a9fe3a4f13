"""A vision transformer, its position embedding and its frames in plain NumPy; imports nothing of ours.

Tensors go by timm's names. Everything is float64.
"""

import math

import numpy as np
from scipy.special import erf


def layer_norm(x, weight, bias, eps):
    mean = x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + eps)
    return (x - mean) / deviation * weight + bias


def gelu(x):
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def quick_gelu(x):
    return x / (1 + np.exp(-1.702 * x))


def attention(x, state, n_heads):
    n_tokens, width = x.shape
    head = width // n_heads
    qkv = x @ state["qkv.weight"].T + state["qkv.bias"]
    query, key, value = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
    out = np.zeros((n_tokens, width))
    for h in range(n_heads):
        part = slice(h * head, (h + 1) * head)
        logits = query[:, part] @ key[:, part].T / math.sqrt(head)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        out[:, part] = weights / weights.sum(axis=1, keepdims=True) @ value[:, part]
    return out @ state["proj.weight"].T + state["proj.bias"]


def under(state, prefix):
    """What lies under a prefix, in float64: block by block, so that a large network needs little memory."""
    return {
        name[len(prefix) :]: np.asarray(value, dtype=np.float64)
        for name, value in state.items()
        if name.startswith(prefix)
    }


def patches(image, weight, patch):
    channels, size, _ = image.shape
    rows = []
    for top in range(0, size, patch):
        for left in range(0, size, patch):
            tile = image[:, top : top + patch, left : left + patch]
            rows.append(np.tensordot(weight, tile, 3))
    assert weight.shape[1] == channels
    return np.array(rows)


def tokens(image, state, *, patch, n_heads, n_blocks, eps, activation=gelu):
    """The output `[1 + P, C]` of every block for one `[3, S, S]` image; `pos_embed` must fit its grid."""
    blocks, state = state, under({n: v for n, v in state.items() if not n.startswith("blocks.")}, "")
    x = patches(np.asarray(image, dtype=np.float64), state["patch_embed.proj.weight"], patch)
    if "patch_embed.proj.bias" in state:
        x = x + state["patch_embed.proj.bias"]
    x = np.concatenate([state["cls_token"].reshape(1, -1), x]) + state["pos_embed"].reshape(len(x) + 1, -1)
    if "norm_pre.weight" in state:
        x = layer_norm(x, state["norm_pre.weight"], state["norm_pre.bias"], eps)
    outputs = []
    for index in range(n_blocks):
        block = under(blocks, f"blocks.{index}.")
        y = layer_norm(x, block["norm1.weight"], block["norm1.bias"], eps)
        x = x + attention(y, under(block, "attn."), n_heads) * block.get("ls1.gamma", 1.0)
        y = layer_norm(x, block["norm2.weight"], block["norm2.bias"], eps)
        hidden = activation(y @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"])
        x = x + (hidden @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]) * block.get("ls2.gamma", 1.0)
        outputs.append(x)
    return outputs


def cubic(distance, a=-0.75):
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    if d < 2:
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return 0.0


def bicubic(grid, size, factor):
    """`[g, g, C]` to `[size, size, C]`, sample i at (i + 0.5) / factor - 0.5, edges repeated."""
    side = len(grid)
    out = np.zeros((size, size, grid.shape[2]))
    for row in range(size):
        for column in range(size):
            y, x = (row + 0.5) / factor - 0.5, (column + 0.5) / factor - 0.5
            for j in range(math.floor(y) - 1, math.floor(y) + 3):
                for i in range(math.floor(x) - 1, math.floor(x) + 3):
                    value = grid[min(max(j, 0), side - 1), min(max(i, 0), side - 1)]
                    out[row, column] += cubic(y - j) * cubic(x - i) * value
    return out


def triangle(distance):
    return max(0.0, 1 - abs(distance))


def cubic_pil(distance):
    return cubic(distance, a=-0.5)


def antialiased(frame, size, kernel, reach):
    """`[H, W, 3]` uint8 to `[size, size, 3]` uint8: axis by axis, the kernel widened when shrinking."""
    for axis in (1, 0):
        frame = np.moveaxis(frame.astype(np.float64), axis, 0)
        length, scale = len(frame), len(frame) / size
        support = reach * max(scale, 1.0)
        rows = []
        for index in range(size):
            centre = (index + 0.5) * scale
            first = max(int(centre - support + 0.5), 0)
            last = min(int(centre + support + 0.5), length)
            weights = [kernel((i - centre + 0.5) / max(scale, 1.0)) for i in range(first, last)]
            total = sum(weights)
            rows.append(sum(w / total * frame[i] for i, w in zip(range(first, last), weights, strict=True)))
        frame = np.moveaxis(np.clip(np.floor(np.array(rows) + 0.5), 0, 255).astype(np.uint8), 0, axis)
    return frame
