"""Labels for images by a CLIP model, if open_clip is installed (`pip install "archsr[zero-shot]"`)."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from archsr.errors import UserError, first_line
from archsr.images.pixels import Pixels


class ZeroShot:
    """A CLIP model of open_clip, loaded at its first use and kept.

    `model` is a name of open_clip, such as "ViT-B-32". `pretrained` is one of its tags, which is downloaded once, or
    the path of a weights file. All images of one call go through the network together.
    """

    def __init__(self, model: str, pretrained: str, device: torch.device | str = "cpu") -> None:
        self.model, self.pretrained, self.device = model, pretrained, torch.device(device)
        self._opened: tuple[Any, Any, Any] | None = None

    def scores(self, images: Sequence[Pixels], prompts: Mapping[str, Sequence[str]]) -> list[dict[str, float]]:
        """Return the label probabilities of each image, uint8 (h, w, 3): a softmax over the labels of `prompts`.

        A label's logit is the mean cosine similarity of the image to the label's prompts, times the model's own
        temperature. Raises `UserError` without open_clip, without weights, or if a label has no prompts.
        """
        if not prompts or not all(prompts.values()):
            raise UserError("zero-shot: every label needs at least one prompt")
        if not images:
            return []
        net, preprocess, tokenizer = self._opened or self._open()
        batch = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in images])
        tokens = tokenizer([text for texts in prompts.values() for text in texts])
        with torch.inference_mode():
            seen: Tensor = net.encode_image(batch.to(self.device), normalize=True).float()  # (b, d)
            said: Tensor = net.encode_text(tokens.to(self.device), normalize=True).float()  # (prompts, d)
            parts = (seen @ said.T).split([len(texts) for texts in prompts.values()], dim=1)
            logits = net.logit_scale.exp() * torch.stack([part.mean(1) for part in parts], dim=1)  # (b, labels)
            shares = logits.softmax(1).cpu().numpy().astype(np.float64)
        return [dict(zip(prompts, map(float, row), strict=True)) for row in shares]

    def _open(self) -> tuple[Any, Any, Any]:
        clip = _open_clip()
        if self.model not in clip.list_models():
            raise UserError(f"zero-shot: open_clip knows no model {self.model!r}; `open_clip.list_models()` lists them")
        source = self._source(clip)
        try:
            net, _, preprocess = clip.create_model_and_transforms(
                self.model, pretrained=source, device=self.device, require_pretrained=True
            )
            tokenizer = clip.get_tokenizer(self.model)
        except Exception as error:  # open_clip and the hub raise many kinds of errors
            raise UserError(self._trouble(error)) from error
        self._opened = (net.eval(), preprocess, tokenizer)
        return self._opened

    def _source(self, clip: ModuleType) -> str:
        """Return the tag or the path. Raises `UserError` if `pretrained` is neither."""
        if Path(self.pretrained).is_file() or self.pretrained in clip.list_pretrained_tags_by_model(self.model):
            return self.pretrained
        tags = ", ".join(clip.list_pretrained_tags_by_model(self.model)) or "none"
        raise UserError(
            f"zero-shot: {self.pretrained!r} is no file, and no weights of {self.model} that open_clip knows ({tags})"
        )

    def _trouble(self, error: Exception) -> str:
        cause = first_line(error)
        if Path(self.pretrained).is_file():
            return f"{self.pretrained}: no weights of {self.model}: {cause}"
        return (
            f"zero-shot: the weights {self.pretrained!r} of {self.model} cannot be fetched ({cause}); without network, "
            "fetch them on another machine and give the path of the .safetensors or .pt file in place of the tag"
        )


def _open_clip() -> ModuleType:
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise UserError(
            f'zero-shot labels need open_clip, which does not import ({error}); pip install "archsr[zero-shot]"'
        ) from error
