"""Runs inside the peers' environment: the time of whole training iterations of realesrgan's own model.

python official_iteration.py all|last BATCH ITERATIONS [cpu|cuda]
Milliseconds as JSON, of processor time on a CPU, by the clock on a GPU; the first iteration is not counted.
"""

import json
import sys
import time
import types
from unittest import mock

import numpy as np
import official
import torch
import torchvision

import basicsr.archs.vgg_arch as vgg_arch  # isort: skip
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN  # noqa: F401  # isort: skip
from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: F401  # isort: skip
from basicsr.models.srgan_model import SRGANModel  # isort: skip

# options/train_realesrgan_x4plus.yml
VGG = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
ADAM = {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
OPTIONS = {
    "num_gpu": 0, "is_train": True, "dist": False, "path": {}, **official.FEED,
    "l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False,
    "network_g": {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 23,
                  "num_grow_ch": 32},
    "network_d": {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 64, "skip_connection": True},
    "train": {
        "ema_decay": 0.999, "optim_g": dict(ADAM), "optim_d": dict(ADAM),
        "scheduler": {"type": "MultiStepLR", "milestones": [400000], "gamma": 0.5},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        "perceptual_opt": {"type": "PerceptualLoss", "layer_weights": VGG, "vgg_type": "vgg19",
                           "use_input_norm": True, "perceptual_weight": 1.0, "style_weight": 0,
                           "range_norm": False, "criterion": "l1"},
        "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0,
                    "loss_weight": 0.1},
    },
}  # fmt: skip


def now(device):
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def network(layers, device):
    """The reference's model with all its networks, untrained; `last` freezes by hand what it has no option for."""
    made = official.model(**{**OPTIONS, "num_gpu": 0 if device == "cpu" else 1})
    del made._dequeue_and_enqueue
    begin = SRGANModel.setup_optimizers

    def frozen(self):
        if layers == "last":
            self.net_g.requires_grad_(False)
            self.net_g.conv_last.requires_grad_(True)
        begin(self)

    untrained = types.SimpleNamespace(vgg19=lambda **_: torchvision.models.vgg19(weights=None))
    with mock.patch.object(SRGANModel, "setup_optimizers", frozen), mock.patch.object(vgg_arch, "vgg", untrained):
        SRGANModel.__init__(made, made.opt)
    made.jpeger.to(device)
    made.usm_sharpener.to(device)
    made.queue_size = official.FEED["queue_size"]
    return made


def main(layers, batch, iterations, device="cpu"):
    if device == "cpu":
        official.pad_contiguous()
        torch.Tensor.cuda = lambda self, *_: self
    torch.manual_seed(0)
    made, kernels = network(layers, device), official.dataset()
    feeds, steps = [], []
    for number in range(int(iterations) + 1):
        drawn = [kernels[0] for _ in range(int(batch))]
        given = {k: torch.stack([d[k] for d in drawn]) for k in ("kernel1", "kernel2", "sinc_kernel")}
        given["gt"] = torch.from_numpy(np.random.default_rng(number).random((int(batch), 3, 400, 400), np.float32))
        started = now(device)
        made.feed_data(given)
        fed = now(device)
        made.optimize_parameters(number + 1)
        feeds.append(1000 * (fed - started))
        steps.append(1000 * (now(device) - fed))
    print(json.dumps({"feed": feeds[1:], "step": steps[1:]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
