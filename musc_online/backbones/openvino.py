"""`backbone.precision: int8`: a network whose linear layers multiply 8-bit integers, by OpenVINO, on a CPU.

The torch network is translated once, when it is loaded, and quantised with ranges that its own activations
show on drawn pictures (`calibration_frames`), so that nothing depends on which frames a stream sends first:
all features of a ring come from one network, and a restart builds the same one. The first block is not
quantised: some of its channels reach three times as far as any later ones (DINOv2 ViT-S/14), and with it
rounded the tokens of three stages of four are two to three times as far from float32's. Weights have a scale
a row, activations one scale and zero point a layer. All else (norms, softmax, attention) stays in floating
point: bfloat16 where the processor multiplies it, else float32.
"""

import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from musc_online.errors import ConfigError

REMEDY = 'pip install "openvino==2026.4.*"'
N_CALIBRATION = 16
_ACTIVATION_LEVELS = 256
# Without VNNI pairs of 8-bit products are added in 16 bits, which saturate: there weights have 7 bits.
_WEIGHT_LEVELS = {True: 255, False: 127}


class Int8Network:
    """A `vit.Network` whose linear layers are quantised; any thread may call it, one at a time runs."""

    def __init__(
        self,
        network: Any,
        calibration: torch.Tensor,
        stages: Sequence[int],
        *,
        name: str,
        bfloat16: bool,
        vnni: bool,
    ) -> None:
        """Translate and quantise.

        Args:
            network: the torch network, a `vit.Network` in float32 on the CPU.
            calibration: prepared frames `[N, 3, S, S]` float32, N >= 1; their size is the network's.
            stages: 0-based block indices that will be asked for.
            name: the backbone's, for messages.
            bfloat16: whether what is not quantised is rounded to bfloat16.
            vnni: whether the processor adds 8-bit products in 32 bits.

        Raises:
            ConfigError: OpenVINO is not installed, or cannot translate this network.
        """
        openvino = require()
        self._stages = tuple(stages)
        self._blocks = network.blocks
        self._busy = threading.Lock()
        model = _translated(network, calibration[:1], self._stages, name)
        _quantise(openvino, model, calibration.numpy(), _WEIGHT_LEVELS[vnni], len(network.blocks))
        rest = "bf16" if bfloat16 else "f32"
        self._request = _compiled(openvino, model, rest).create_infer_request()
        self.recipe = f"openvino {openvino.__version__}, {rest}, {_WEIGHT_LEVELS[vnni]} levels"
        """What else than weights and stages decides its tokens."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The torch network's blocks, which are not run."""
        blocks: nn.ModuleList = self._blocks
        return blocks

    def to(self, device: torch.device) -> "Int8Network":
        """Itself: it runs on the CPU only, which `loading.choose_precision` has seen to."""
        return self

    def __call__(
        self, inputs: torch.Tensor, stages: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """`[N, 3, S, S]` to patch tokens `[N, P, C]` per stage and class tokens `[N, D]`, frame by frame.

        One frame keeps every core busy, and so its tokens do not depend on which others wait beside it.
        """
        if tuple(stages) != self._stages:
            raise ValueError(
                f"stages: got {tuple(stages)}, but this network was translated for {self._stages}"
            )
        rows = [self._one(frame[None].contiguous().numpy()) for frame in inputs]
        joined = [torch.from_numpy(np.concatenate(parts)) for parts in zip(*rows, strict=True)]
        return joined[:-1], joined[-1]

    def _one(self, frame: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        with self._busy:
            # The request writes its next outputs over these.
            return [np.array(value) for value in self._request.infer([frame], share_outputs=True).values()]


def require() -> Any:
    """The module `openvino`, without the part that reports its use to its maker.

    Raises:
        ConfigError: it is not installed.
    """
    # Importing it tells a server on the Internet so, unless this package is missing; a line has no business
    # there.
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino  # noqa: PLC0415  (an optional extra)
    except ImportError:
        raise ConfigError(
            "backbone.precision: got 'int8', which needs the package openvino, and it is not installed; "
            f"install it with: {REMEDY}, or set auto, bfloat16 or float32"
        ) from None
    return openvino


def calibration_frames(count: int = N_CALIBRATION, side: int = 256) -> list[npt.NDArray[np.uint8]]:
    """Drawn pictures that show a network what frames may hold: `count` of `[side, side, 3]` uint8 BGR.

    Clouds whose spectrum falls as photographs' do, coloured, of every contrast and brightness, with
    hard-edged parts and scratches in front, some on a plain ground. The same ones in every process.
    """
    random = np.random.default_rng(20240116)
    return [_drawn(random, side, index) for index in range(count)]


def _drawn(random: np.random.Generator, side: int, index: int) -> npt.NDArray[np.uint8]:
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) + 1 / side
    clouds = np.empty((side, side, 3))
    for channel in range(3):
        noise = np.fft.rfft2(random.standard_normal((side, side)))
        cloud = np.fft.irfft2(noise / frequency ** random.uniform(0.5, 1.5), s=(side, side))
        clouds[..., channel] = (cloud - cloud.mean()) / cloud.std()
    grey = clouds.mean(axis=2, keepdims=True)
    share = random.uniform(0, 1)
    picture = random.uniform(40, 215) + random.uniform(5, 60) * (share * clouds + (1 - share) * grey)
    if index % 4 == 3:
        picture[:] = random.uniform(0, 255, 3)
    rows, columns = np.mgrid[:side, :side]
    for _ in range(index % 4):
        centre, radii = random.uniform(0, side, 2), random.uniform(side / 20, side / 3, 2)
        inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
        picture[inside] = 0.3 * picture[inside] + 0.7 * random.uniform(0, 255, 3)
        angle, offset = random.uniform(0, np.pi), random.uniform(0, side)
        line = np.abs(np.cos(angle) * (rows - offset) + np.sin(angle) * (columns - side / 2)) < 2
        picture[line] = random.uniform(0, 255)
    shown: npt.NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return shown


class _Outputs(nn.Module):
    """The network with its stages fixed, which gives a flat tuple."""

    def __init__(self, network: Any, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.stages = stages

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        taken, class_token = self.network(inputs, self.stages)
        return (*taken, class_token)


def _translated(network: Any, example: torch.Tensor, stages: tuple[int, ...], name: str) -> Any:
    """OpenVINO's model of the network, for one frame at a time.

    Through the front end itself: `openvino.convert_model` does the same and reports it to its maker.
    """
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415
    from openvino.passes import ConstantFolding, Manager  # noqa: PLC0415

    front_end = FrontEndManager().load_by_framework("pytorch")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Tracing warns of every shape that becomes a constant, which is what is wanted here.
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(_Outputs(network, stages).eval(), example_input=example)
            model = front_end.convert(front_end.load(decoder))
            model.reshape(list(example.shape))
            # Part of a weight is a constant only after this.
            passes = Manager()
            passes.register_pass(ConstantFolding())
            passes.run_passes(model)
    except Exception as error:  # whatever a foreign translator may raise
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"backbone.precision: got 'int8', but OpenVINO cannot translate {name} ({type(error).__name__}: "
            f"{reason}); set auto, bfloat16 or float32"
        ) from None
    return model


def _linears(model: Any) -> list[Any]:
    """Products with a constant matrix, in the order in which they are run: the linear layers."""
    return [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul" and node.input_value(1).get_node().get_type_name() == "Constant"
    ]


def _compiled(openvino: Any, model: Any, rest: str) -> Any:
    # One frame at a time over all cores; what is not quantised runs as `rest` says.
    options = {"INFERENCE_PRECISION_HINT": rest, "PERFORMANCE_HINT": "LATENCY"}
    return openvino.Core().compile_model(model, "CPU", options)


def _quantise(
    openvino: Any, model: Any, calibration: npt.NDArray[np.float32], weight_levels: int, n_blocks: int
) -> None:
    """Round weights and inputs of every linear layer behind the first block to integers, in place."""
    from openvino import opset13  # noqa: PLC0415

    linears = _linears(model)
    linears = linears[len(linears) // n_blocks :]
    for node, (low, high) in zip(linears, _ranges(openvino, model, linears, calibration), strict=True):
        weight = node.input_value(1).get_node().data.astype(np.float32)
        axis = 1 if node.get_attributes()["transpose_b"] else 0
        largest = np.maximum(np.abs(weight).max(axis=axis, keepdims=True), np.float32(1e-8))
        rounded = _rounded(opset13, node.input_value(1), -largest, largest, weight_levels)
        step = max(high - low, 1e-8) / (_ACTIVATION_LEVELS - 1)
        # Zero is a whole number of steps from the lowest value, as integer arithmetic needs it.
        zero = round(-low / step)
        activation = _rounded(
            opset13,
            node.input_value(0),
            np.float32(-zero * step),
            np.float32((_ACTIVATION_LEVELS - 1 - zero) * step),
            _ACTIVATION_LEVELS,
        )
        node.input(0).replace_source_output(activation.output(0))
        node.input(1).replace_source_output(rounded.output(0))
    model.validate_nodes_and_infer_types()


def _rounded(opset: Any, value: Any, low: Any, high: Any, levels: int) -> Any:
    low, high = (opset.constant(np.asarray(bound, np.float32)) for bound in (low, high))
    return opset.fake_quantize(value, low, high, low, high, levels)


def _ranges(
    openvino: Any, model: Any, linears: list[Any], calibration: npt.NDArray[np.float32]
) -> list[tuple[float, float]]:
    """Smallest and largest input of each linear layer over the calibration frames, zero within."""
    from openvino import opset13  # noqa: PLC0415

    n_outputs = len(model.outputs)
    watched = [opset13.result(node.input_value(0)) for node in linears]
    model.add_results(watched)
    compiled = _compiled(openvino, model, "f32")
    low, high = np.zeros(len(linears)), np.zeros(len(linears))
    for frame in calibration:
        inputs = list(compiled([frame[None]]).values())[n_outputs:]
        low = np.minimum(low, [value.min() for value in inputs])
        high = np.maximum(high, [value.max() for value in inputs])
    for result in watched:
        model.remove_result(result)
    return list(zip(low.tolist(), high.tolist(), strict=True))
