"""Putting a checkpoint's tensors into a network built without memory."""

from collections.abc import Mapping

import torch
from torch import nn

from musc_online.errors import WeightsError


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], name: str) -> None:
    """Give a network on the `meta` device its weights, as float32, frozen and in evaluation mode.

    Raises:
        WeightsError: a tensor is missing, has another shape, or belongs to no part of the network.
    """
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    missing = [key for key in wanted if key not in state]
    foreign = [key for key in state if key not in wanted]
    wrong = [key for key in wanted if key in state and tuple(state[key].shape) != wanted[key]]
    if wrong:
        raise WeightsError(
            f"{name}: the weights are of another network: {wrong[0]} has shape {list(state[wrong[0]].shape)}, "
            f"expected {list(wanted[wrong[0]])}"
        )
    if missing or foreign:
        counts = f"{len(missing)} tensors missing (first: {missing[0]})" if missing else ""
        extra = f"{len(foreign)} that do not belong (first: {foreign[0]})" if foreign else ""
        found = " and ".join(filter(None, (counts, extra)))
        raise WeightsError(f"{name}: the weights are of another network: {found}")
    network.load_state_dict({key: state[key].to(torch.float32).contiguous() for key in wanted}, assign=True)
    network.requires_grad_(False).eval()
