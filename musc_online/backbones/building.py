"""Putting a checkpoint's tensors into a network built without memory."""

from collections.abc import Mapping

import torch
from torch import nn

from musc_online.errors import WeightsError

_ALIGNMENT = 64


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], name: str, source: str) -> None:
    """Give a network on the `meta` device its weights (float32), frozen and in evaluation mode.

    Args:
        network: filled in place.
        state: tensors under the network's own names.
        name: the backbone's, for messages.
        source: the file they came from, for messages.

    Raises:
        WeightsError: a tensor is missing, has another shape, or has no place in it.
    """
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    missing = [key for key in wanted if key not in state]
    foreign = [key for key in state if key not in wanted]
    wrong = [key for key in wanted if key in state and tuple(state[key].shape) != wanted[key]]
    if wrong:
        raise WeightsError(
            f"{source}: the weights are of another network than {name}: {wrong[0]} has shape "
            f"{list(state[wrong[0]].shape)}, expected {list(wanted[wrong[0]])}"
        )
    if missing or foreign:
        found = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
        found += [f"{len(foreign)} that do not belong (first: {foreign[0]})"] if foreign else []
        raise WeightsError(f"{source}: the weights are of another network than {name}: {' and '.join(found)}")
    network.load_state_dict({key: _usable(state[key]) for key in wanted}, assign=True)
    network.requires_grad_(False).eval()


def _usable(tensor: torch.Tensor) -> torch.Tensor:
    """Float32 at an address as torch would choose it.

    A tensor mapped from a file may start anywhere, and BLAS may sum in another order there: the same weights
    would give other tokens out of another format.
    """
    tensor = tensor.to(torch.float32).contiguous()
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone()
