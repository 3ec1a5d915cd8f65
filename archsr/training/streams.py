"""Streams of a run's stages. Stages with the same subset share one stream."""

from types import TracebackType

from archsr.data.stream.loader import Stream
from archsr.data.stream.plan import Slice
from archsr.training.memory.forecast import micro_batch_of
from archsr.training.pairs import options_of, stream_name
from archsr.training.setup import Progress, Run


class Streams:
    """Opens one stream at a time, at the position stored in `progress`.

    Used as a context manager, it closes the stream at the end. When a worker dies, torch raises `RuntimeError` at an
    arbitrary line; this raises the cause instead.
    """

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run = run
        self._progress = progress
        self._subset = 0.0
        self._stream: Stream | None = None

    def of(self, subset: float) -> Stream:
        """Return the stream of a subset of the samples."""
        if self._stream is None or self._subset != subset:
            self._close()
            self._stream, self._subset = self._open(subset), subset
        return self._stream

    def __enter__(self) -> "Streams":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if isinstance(error, RuntimeError) and self._stream is not None and (cause := self._stream.cause()):
                raise cause from None
        finally:
            self._close()

    def _open(self, subset: float) -> Stream:
        run, config = self._run, self._run.config
        part = Slice(
            start=self._progress.taken.get(stream_name(subset), 0),
            micro_batch=micro_batch_of(config),
            accumulation=run.accumulation,
            rank=run.world.rank,
            world=run.world.size,
        )
        pin = run.accelerator.device.type == "cuda"
        return Stream(options_of(config, run.data, subset), part, workers=config.data.workers, pin_memory=pin)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
