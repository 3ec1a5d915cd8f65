"""Settings of the preparation: how a folder of photographs becomes shards."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.degrade import DegradeConfig
from archsr.config.table import Count, Positive, Table, Unit

# of a test for a verdict: with five, even five differences of one sign happen by chance once in 2⁴ times, above 5 %
FEWEST_SCENES = 6


class TagRule(Table):
    """A tag for all photographs whose path fits a pattern."""

    tag: Annotated[str, Field(min_length=1)] = Field(description="Tag that they get.", examples=["interior"])
    match: Annotated[str, Field(min_length=1)] = Field(
        description="Glob of the path, upper and lower case alike.", examples=["*interior*"]
    )


class ScenesConfig(Table):
    """What may not be on two sides of the split: the union of these."""

    folder: bool = Field(default=True, description="Photographs in one sub-folder.")
    title: bool = Field(default=True, description="A shared title: villa-rossi-01.jpg, villa-rossi-02.jpg.")
    near_duplicates: bool = Field(
        default=True, description="The same photograph resized, recompressed, toned, mirrored or cropped."
    )
    same_building: Annotated[int, Field(ge=0, le=100)] = Field(
        default=8,
        description="One building from nearby places: each photograph is compared with so many that follow it in its "
        "folder, where the names do not join them, at most 100; 0: none.",
    )
    neighbours: Literal["none", "number", "time"] = Field(
        default="none",
        description='Photographs whose names only a camera gave (IMG_2231): "number" joins those of a block of '
        'numbers, "time" those taken shortly after each other, by EXIF; "none" joins none.',
    )
    neighbours_block: Annotated[int, Field(ge=2)] = Field(default=10, description='Numbers of a block, for "number".')
    neighbours_minutes: Annotated[float, Field(gt=0)] = Field(
        default=10.0, description='The most minutes between two photographs, for "time".'
    )


class TagsConfig(Table):
    """Sub-domains: tags that are stored with every sample and counted in the report."""

    folders: Count = Field(default=0, description="So many leading folders of the path are tags: interior/villa/1.jpg.")
    rules: tuple[TagRule, ...] = Field(
        default=(), description='Tags by patterns of the path: [{ tag = "interior", match = "*interior*" }].'
    )
    csv: str = Field(default="", description="A file with the columns path (exact, or a glob) and tag.")
    columns: tuple[str, ...] = Field(
        default=(), description='Columns of a datasets source that become tags: ["style"] gives the tags style=...'
    )
    zero_shot: dict[str, tuple[str, ...]] = Field(
        default={},
        description='Labels and their prompts; the likeliest label by CLIP becomes a tag: { interior = ["a photo of a '
        'room"] }. A label named drawing leaves the image out.',
    )
    clip_model: str = Field(
        default="ViT-B-32", description="open_clip's name of the model for zero_shot, which needs the extra zero-shot."
    )
    clip_weights: str = Field(
        default="laion2b_s34b_b79k", description="open_clip's name of its weights, or a path to a file."
    )


class PrepareConfig(Table):
    """A preparation: how photographs become shards."""

    seed: Count = Field(default=0, description="Splits, crops and evaluation pairs derive from it.")
    scale: Literal[1, 2, 3, 4] = Field(
        default=4, description="Scale of the fixed evaluation pairs; must be the model's."
    )
    lq_folder: str = Field(
        default="",
        description="Pairs from disk: folder of low-quality images under the photographs' own names, exactly scale "
        "times smaller. Training then degrades nothing.",
    )
    val: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Share of scenes for validation, by a hash of the scene's name."
    )
    test: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Share of scenes for the test, by a hash of the scene's name."
    )
    val_folders: tuple[str, ...] = Field(
        default=(), description='Globs of folders, e.g. ["competition_*"], which alone make the validation split.'
    )
    test_folders: tuple[str, ...] = Field(default=(), description="Globs of folders, which alone make the test split.")
    crops: Literal["tiles", "reference"] = Field(
        default="tiles",
        description='"tiles": photographs are cut into tiles; "reference": Real-ESRGAN\'s multi-scale copies in pieces '
        "of 400 pixels.",
    )
    tile: Annotated[int, Field(ge=64, multiple_of=4)] = Field(
        default=512, description="Side of the training tiles in pixels, a multiple of 4 from 64."
    )
    min_detail: Unit = Field(
        default=0.05,
        description="Share of a tile's blocks of 16 pixels that must have structure, from 0 to 1; 0 keeps all tiles.",
    )
    encoding: Literal["lossless", "webp", "png", "jpeg"] = Field(
        default="lossless",
        description='"lossless": the JPEG\'s own blocks, of others WebP; "webp" and "png": both without loss, larger; '
        '"jpeg": quality 95, a second loss.',
    )
    min_side: Positive = Field(default=288, description="Photographs with a smaller side, in pixels, are left out.")
    pair_size: Annotated[int, Field(ge=32, multiple_of=4)] = Field(
        default=512, description="Side of the ground truth of evaluation pairs in pixels, a multiple of 4 from 32."
    )
    pairs_per_photo: Positive = Field(default=4, description="Evaluation pairs from each photograph.")
    drawings: Literal["leave_out", "keep"] = Field(
        default="leave_out", description="What becomes of images that are drawings."
    )
    drawing_threshold: Unit = Field(
        default=0.5, description="Score, from 0 to 1, from which an image counts as a drawing."
    )
    allow: tuple[str, ...] = Field(default=(), description="Globs of paths that are no drawings, whatever their score.")
    deny: tuple[str, ...] = Field(default=(), description="Globs of paths that are left out as drawings.")
    bad_files: Literal["skip", "raise"] = Field(
        default="skip",
        description='"skip": files that cannot be read are left out and listed; "raise": the first one stops the '
        "preparation.",
    )
    max_bad_share: Unit = Field(
        default=0.5,
        description="A larger share of unreadable files stops the preparation: it is probably the wrong folder.",
    )
    max_pixels: Positive = Field(
        default=150_000_000, description="Images with more pixels are taken for decompression bombs."
    )
    samples_per_shard: Positive = Field(default=512, description="Samples of a shard.")
    scenes: ScenesConfig = ScenesConfig()
    tags: TagsConfig = TagsConfig()
    degrade: DegradeConfig = Field(
        default=DegradeConfig(), description="The degradation of the evaluation pairs; keys as of a training config."
    )

    @property
    def multiple(self) -> int:
        """What the sides of evaluation pairs must be multiples of: ×1 and ×2 networks fold 4 or 2 pixels into one."""
        return 3 if self.scale == 3 else 4

    @model_validator(mode="after")
    def _leaves_a_train_split(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; nothing is left to train on")
        if self.degrade.margin % self.multiple or self.pair_size % self.multiple:
            raise ValueError(f"degrade.margin and pair_size must be multiples of {self.multiple} at scale {self.scale}")
        if self.lq_folder and (self.crops != "tiles" or self.encoding == "jpeg" or self.tile % self.scale):
            raise ValueError(
                'lq_folder wants crops = "tiles" (copies of another size have no pair), an encoding without loss, and '
                f"tile ({self.tile}) a multiple of the scale ({self.scale})"
            )
        smallest = self.degrade.margin + 64
        if self.min_side < smallest:
            raise ValueError(f"min_side ({self.min_side}) must be at least degrade.margin + 64 ({smallest})")
        return self
