"""Settings of the preparation: how a folder of photographs becomes shards."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archsr.config.degrade import DegradeConfig
from archsr.config.table import Count, Positive, Table, Unit

# of a test for a verdict: with five, even five differences of one sign happen by chance once in 2⁴ times, above 5 %
FEWEST_SCENES = 6


class TagRule(Table):
    """Photographs whose path matches the glob `match` (case ignored) get `tag`."""

    tag: Annotated[str, Field(min_length=1)]
    match: Annotated[str, Field(min_length=1)]


class ScenesConfig(Table):
    """What may not be on two sides of the split: the union of these.

    `folder`: a sub-folder is one project. `title`: a shared title (`villa-01`, `villa-02`), also across folders where
    it is specific. `near_duplicates`: the same photograph resized, recompressed, toned, mirrored or cropped.
    `same_building`: photographs of one building from nearby places, each compared with so many that follow it in its
    folder (0: none). `neighbours`: photographs that only a camera numbered are one scene in blocks of
    `neighbours_block` numbers ("number"), or while at most `neighbours_minutes` lie between two ("time", by EXIF).
    """

    folder: bool = True
    title: bool = True
    near_duplicates: bool = True
    same_building: Annotated[int, Field(ge=0, le=100)] = 8
    neighbours: Literal["none", "number", "time"] = "none"
    neighbours_block: Annotated[int, Field(ge=2)] = 10
    neighbours_minutes: Annotated[float, Field(gt=0)] = 10.0


class TagsConfig(Table):
    """Sub-domains. `folders`: so many leading folders of the path are tags; `columns`: of a `datasets` source.

    `csv`: a file with the columns `path` (exact, or a glob) and `tag`. `zero_shot`: label to prompts, by CLIP.
    """

    folders: Count = 0
    rules: tuple[TagRule, ...] = ()
    csv: str = ""
    columns: tuple[str, ...] = ()
    zero_shot: dict[str, tuple[str, ...]] = Field(default={})
    clip_model: str = "ViT-B-32"
    clip_weights: str = "laion2b_s34b_b79k"


class PrepareConfig(Table):
    """How photographs become shards.

    `crops`: `tiles` of `tile` pixels, or `reference`, Real-ESRGAN's multi-scale copies cut into 400-pixel pieces.
    `min_detail`: a training tile stays if at least this share of its 16-pixel blocks has structure.
    `allow` and `deny`: globs of paths that are never, or always, left out as drawings.
    `lq_folder`: low-quality pictures under the photographs' names, exactly `scale` times smaller: pairs from disk, and
    nothing is degraded. `val_folders`, `test_folders`: globs of folders; where given, they alone make that side.
    """

    seed: Count = 0
    scale: Literal[1, 2, 3, 4] = 4
    lq_folder: str = ""
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    val_folders: tuple[str, ...] = ()
    test_folders: tuple[str, ...] = ()
    crops: Literal["tiles", "reference"] = "tiles"
    tile: Annotated[int, Field(ge=64, multiple_of=4)] = 512
    min_detail: Unit = 0.05
    encoding: Literal["lossless", "webp", "png", "jpeg"] = "lossless"
    min_side: Positive = 288
    pair_size: Annotated[int, Field(ge=32, multiple_of=4)] = 512
    pairs_per_photo: Positive = 4
    drawings: Literal["leave_out", "keep"] = "leave_out"
    drawing_threshold: Unit = 0.5
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    bad_files: Literal["skip", "raise"] = "skip"
    max_bad_share: Unit = 0.5
    max_pixels: Positive = 150_000_000
    samples_per_shard: Positive = 512
    scenes: ScenesConfig = ScenesConfig()
    tags: TagsConfig = TagsConfig()
    degrade: DegradeConfig = DegradeConfig()

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
