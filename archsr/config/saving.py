"""Settings of what saving does to a photograph: real encoders, several generations of JPEG, few levels."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from archsr.config.orders import Shares
from archsr.config.table import PositiveSpan, Span, Table, Unit

MOST_SAVES = 6


class Formats(Shares):
    """Shares of the encoders, which add up to 1. HEIC needs archsr[phone]; H.264 and HEVC need archsr[codecs]."""

    webp: Unit = Field(default=0.6, description="Share of WebP, which portals and messengers serve (libwebp).")
    avif: Unit = Field(default=0.4, description="Share of AVIF, which newer portals serve (libaom).")
    heic: Unit = Field(default=0.0, description="Share of HEIC, which phones write (x265).")
    h264: Unit = Field(default=0.0, description="Share of an H.264 intra frame: a still taken from a video (x264).")
    hevc: Unit = Field(default=0.0, description="Share of an HEVC intra frame: a still taken from a video (x265).")


class FormatQuality(Span):
    """A range of an encoder's quality. Encoders disagree about its meaning."""

    low: Annotated[float, Field(ge=0, le=100)]
    high: Annotated[float, Field(ge=0, le=100)]


class RateFactor(Span):
    """A range of the constant rate factor (crf) of a video encoder: higher is worse."""

    low: Annotated[float, Field(ge=0, le=51)]
    high: Annotated[float, Field(ge=0, le=51)]


class Codec(Table):
    """The step "codec": saves and opens a share of the samples with a real encoder, on the processor.

    On a GPU the step waits for the device, which no other step does.
    """

    probability: Unit = Field(default=1.0, description="Share of samples that are saved so.")
    formats: Formats = Formats()
    webp: FormatQuality = Field(default=FormatQuality(low=40.0, high=90.0), description="WebP's quality, 0 to 100.")
    avif: FormatQuality = Field(default=FormatQuality(low=35.0, high=80.0), description="AVIF's quality, 0 to 100.")
    heic: FormatQuality = Field(default=FormatQuality(low=30.0, high=80.0), description="HEIC's quality, 0 to 100.")
    h264: RateFactor = Field(default=RateFactor(low=18.0, high=34.0), description="H.264's crf, 0 to 51.")
    hevc: RateFactor = Field(default=RateFactor(low=20.0, high=36.0), description="HEVC's crf, 0 to 51.")


class SavedQuality(Span):
    """A range of JPEG's quality."""

    low: Annotated[float, Field(ge=1, le=99)]
    high: Annotated[float, Field(ge=1, le=99)]


class JpegTables(Shares):
    """Shares of JPEG's quantisation tables, which add up to 1."""

    standard: Unit = Field(
        default=1.0, description="Share of the standard's tables (ITU T.81 Annex K), the usual ones."
    )
    robidoux: Unit = Field(default=0.0, description="Share of N. Robidoux's table, the default of MozJPEG.")
    flat: Unit = Field(default=0.0, description="Share of the flat table: all frequencies are equally coarse.")


class Saves(Table):
    """The step "saves": several generations of JPEG, resized between, as portals and messengers do."""

    probability: Unit = Field(default=1.0, description="Share of samples that it is applied to.")
    low: Annotated[int, Field(ge=1, le=MOST_SAVES)] = Field(default=1, description="Fewest generations.")
    high: Annotated[int, Field(ge=1, le=MOST_SAVES)] = Field(default=4, description="Most generations, at most 6.")
    factor: PositiveSpan = Field(
        default=PositiveSpan(low=0.6, high=1.3),
        description="Size of each generation but the last, as a factor of the size before the step, at most 2. The "
        "last generation has the size before the step.",
    )
    quality: SavedQuality = Field(
        default=SavedQuality(low=60.0, high=95.0), description="JPEG quality of each generation, 1 to 99."
    )
    tables: JpegTables = JpegTables()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        if self.factor.high > 2:
            raise ValueError(f"factor.high is {self.factor.high:g}, above 2")
        return self


class Levels(Table):
    """The step "levels": quantises each channel to few levels, so that skies show bands."""

    probability: Unit = Field(default=1.0, description="Share of samples that it is applied to.")
    low: Annotated[int, Field(ge=2, le=256)] = Field(default=24, description="Fewest levels per channel, 2 to 256.")
    high: Annotated[int, Field(ge=2, le=256)] = Field(default=96, description="Most levels per channel, 2 to 256.")
    dithered: Unit = Field(
        default=0.5, description="Share of these samples with ordered dithering (8×8) in place of bands."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self
