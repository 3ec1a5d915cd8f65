"""Settings of the preparation of shards from photographs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.degrade import DegradeConfig
from archsr.config.table import Count, Positive, Table, Unit

NonNegative = Annotated[float, Field(ge=0)]

# test scenes needed for a verdict: with five, differences of one sign happen by chance once in 2⁴ times, above 5 %
FEWEST_SCENES = 6


class TagRule(Table):
    """A tag for all photographs whose path matches a pattern."""

    tag: Annotated[str, Field(min_length=1)] = Field(description="Name of the tag.", examples=["interior"])
    match: Annotated[str, Field(min_length=1)] = Field(
        description="Glob for the path; case does not matter.", examples=["*interior*"]
    )


class ScenesConfig(Table):
    """What must be on the same side of a split: photographs that share any of these."""

    folder: bool = Field(default=True, description="Photographs in the same subfolder.")
    title: bool = Field(default=True, description="The same title: villa-rossi-01.jpg, villa-rossi-02.jpg.")
    near_duplicates: bool = Field(
        default=True, description="The same photograph resized, recompressed, recoloured, mirrored or cropped."
    )
    same_building: Annotated[int, Field(ge=0, le=100)] = Field(
        default=8,
        description=(
            "One building from nearby viewpoints: each photograph is compared with this many that follow it in its "
            "folder, unless their names already join them. At most 100; 0: none."
        ),
    )
    neighbours: Literal["none", "number", "time"] = Field(
        default="none",
        description='Photographs with names from a camera (IMG_2231): "number" joins those in a block of '
        'numbers, "time" those taken shortly after each other by EXIF, "none" joins none.',
    )
    neighbours_block: Annotated[int, Field(ge=2)] = Field(default=10, description='Numbers per block, for "number".')
    neighbours_minutes: Annotated[float, Field(gt=0)] = Field(
        default=10.0, description='Maximum minutes between two photographs, for "time".'
    )


class TagsConfig(Table):
    """Tags for subsets, which are stored with every sample and counted in the report."""

    folders: Count = Field(default=0, description="Leading folders that become tags: interior/villa/1.jpg.")
    rules: tuple[TagRule, ...] = Field(
        default=(), description='Tags by patterns of the path: [{ tag = "interior", match = "*interior*" }].'
    )
    csv: str = Field(default="", description="CSV file with the columns path (exact, or a glob) and tag.")
    columns: tuple[str, ...] = Field(
        default=(), description='Columns of a datasets source that become tags: ["style"] gives the tags style=...'
    )
    zero_shot: dict[str, tuple[str, ...]] = Field(
        default={},
        description=(
            'Labels and their prompts. The most likely label by CLIP becomes a tag: { interior = ["a photo of a '
            'room"] }. Images with the label drawing are left out.'
        ),
    )
    clip_model: str = Field(
        default="ViT-B-32", description="Name of the open_clip model for zero_shot, which needs the extra zero-shot."
    )
    clip_weights: str = Field(
        default="laion2b_s34b_b79k", description="Name of open_clip weights, or a path to a file."
    )


class QualityConfig(Table):
    """Which photographs are good enough as targets. 0 sets no limit; `report.html` shows where each would lie."""

    min_resolution: Unit = Field(
        default=0.0,
        description="Share of each side that a photograph must resolve: one enlarged to twice its size resolves 0.5.",
    )
    downscale_enlarged: bool = Field(
        default=False,
        description="Photographs below min_resolution are downsampled to the size that they resolve, not left out.",
    )
    min_jpeg: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="Lowest quality of a JPEG, by its quantisation table; other files have none."
    )
    max_blocks: NonNegative = Field(
        default=0.0, description="Highest jump at the lines of JPEG's 8×8 grid, in levels above the jumps beside them."
    )
    max_noise: NonNegative = Field(default=0.0, description="Highest standard deviation of noise in levels.")
    max_blur: NonNegative = Field(
        default=0.0, description="Greatest width of strong edges in pixels; a sharp photograph has 1 to 2."
    )
    max_halo: NonNegative = Field(
        default=0.0, description="Highest overshoot of sharpening beside strong edges, as a share of their height."
    )
    max_clipped: Unit = Field(default=0.0, description="Largest share of pixels in large areas of pure black or white.")
    max_banding: Unit = Field(default=0.0, description="Largest share of pixels in slopes with visible steps.")

    @model_validator(mode="after")
    def _downscales_below_a_limit(self) -> Self:
        if self.downscale_enlarged and not self.min_resolution:
            raise ValueError("downscale_enlarged needs min_resolution above 0: it says which photographs are enlarged")
        return self


class RegistrationConfig(Table):
    """Aligns stored pairs that do not correspond pixel by pixel, and leaves out what cannot be aligned."""

    max_shift: NonNegative = Field(
        default=0.0,
        description="Largest displacement to take away, in pixels of the low-quality image. 0: pairs are taken as they "
        "are.",
    )
    max_spread: NonNegative = Field(
        default=0.25,
        description="How far the displacements of most of nine parts may lie from it, in the same pixels.",
    )
    min_correlation: Unit = Field(default=0.8, description="Lowest correlation of luma after the alignment.")
    max_colour: NonNegative = Field(
        default=20.0,
        description="Largest difference in colour, in levels, root mean square. The photograph takes the colours of "
        "the low-quality image by a gain and an offset for each channel.",
    )


class PrepareConfig(Table):
    """Settings of `archsr prepare`."""

    seed: Count = Field(default=0, description="Random seed of splits, crops and evaluation pairs.")
    scale: Literal[1, 2, 3, 4] = Field(default=4, description="Scale of the evaluation pairs; must equal the model's.")
    lq_folder: str = Field(
        default="",
        description=(
            "For stored pairs: folder of low-quality images with the same names as the photographs and exactly scale "
            "times smaller. Training then applies no degradation."
        ),
    )
    lq_missing: Literal["leave_out", "degrade"] = Field(
        default="leave_out",
        description='Photographs without a file in lq_folder: "leave_out", or "degrade" them in training like those of '
        "other datasets. Pairs from the folder have the tag pair, by which data.tags.balance sets their share.",
    )
    val: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Share of scenes for validation, chosen by a hash of the scene's name."
    )
    test: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Share of scenes for the test, chosen by a hash of the scene's name."
    )
    val_folders: tuple[str, ...] = Field(
        default=(), description='Globs of folders, e.g. ["competition_*"]. They then form the whole validation split.'
    )
    test_folders: tuple[str, ...] = Field(default=(), description="Globs of folders that form the whole test split.")
    crops: Literal["tiles", "reference"] = Field(
        default="tiles",
        description='"tiles": cut photographs into tiles; "reference": Real-ESRGAN\'s multi-scale copies in pieces '
        "of 400 pixels.",
    )
    tile: Annotated[int, Field(ge=64, multiple_of=4)] = Field(
        default=512, description="Side of the training tiles in pixels; a multiple of 4, at least 64."
    )
    min_detail: Unit = Field(
        default=0.05,
        description="Share of a tile's 16-pixel blocks that must have structure, from 0 to 1; 0 keeps all tiles.",
    )
    encoding: Literal["lossless", "webp", "png", "jpeg"] = Field(
        default="lossless",
        description=(
            '"lossless": the JPEG\'s own blocks, or WebP for other files; "webp" and "png": lossless and larger; '
            '"jpeg": quality 95, a second lossy compression.'
        ),
    )
    min_side: Positive = Field(default=288, description="Photographs with a shorter side, in pixels, are left out.")
    pair_size: Annotated[int, Field(ge=32, multiple_of=4)] = Field(
        default=512, description="Side of the ground truth of evaluation pairs in pixels; a multiple of 4, at least 32."
    )
    pairs_per_photo: Positive = Field(default=4, description="Number of evaluation pairs per photograph.")
    drawings: Literal["leave_out", "keep"] = Field(default="leave_out", description="What to do with drawings.")
    drawing_threshold: Unit = Field(default=0.5, description="Score from 0 to 1 at which an image is a drawing.")
    allow: tuple[str, ...] = Field(default=(), description="Globs of paths that are never drawings.")
    deny: tuple[str, ...] = Field(default=(), description="Globs of paths that are left out as drawings.")
    bad_files: Literal["skip", "raise"] = Field(
        default="skip",
        description='"skip": leave out and list unreadable files; "raise": the first one stops the preparation.',
    )
    max_bad_share: Unit = Field(
        default=0.5,
        description="A larger share of unreadable files stops the preparation, because the folder is probably wrong.",
    )
    max_pixels: Positive = Field(default=150_000_000, description="Larger images are refused as decompression bombs.")
    samples_per_shard: Positive = Field(default=512, description="Number of samples per shard.")
    scenes: ScenesConfig = ScenesConfig()
    tags: TagsConfig = TagsConfig()
    quality: QualityConfig = QualityConfig()
    registration: RegistrationConfig = RegistrationConfig()
    degrade: DegradeConfig = Field(
        default=DegradeConfig(),
        description="The degradation of the evaluation pairs, with the same keys as in a training config.",
    )

    @property
    def multiple(self) -> int:
        """The divisor of evaluation pairs' sides: ×1 and ×2 networks fold 4 or 2 pixels into one."""
        return 3 if self.scale == 3 else 4

    @model_validator(mode="after")
    def _leaves_a_train_split(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; nothing is left for training")
        if self.degrade.margin % self.multiple or self.pair_size % self.multiple:
            raise ValueError(f"degrade.margin and pair_size must be multiples of {self.multiple} at scale {self.scale}")
        if self.lq_folder and (self.crops != "tiles" or self.encoding == "jpeg" or self.tile % self.scale):
            raise ValueError(
                'lq_folder needs crops = "tiles" (resized copies have no pair), a lossless encoding, and '
                f"tile ({self.tile}) a multiple of the scale ({self.scale})"
            )
        if not self.lq_folder and (self.lq_missing != "leave_out" or self.registration.max_shift):
            raise ValueError("lq_missing and registration.max_shift are for pairs from disk: set lq_folder")
        if self.lq_folder and self.quality.downscale_enlarged:
            raise ValueError("lq_folder and quality.downscale_enlarged: a downsampled photograph has no pair")
        smallest = self.degrade.margin + 64
        if self.min_side < smallest:
            raise ValueError(f"min_side ({self.min_side}) must be at least degrade.margin + 64 ({smallest})")
        return self
