"""By hand: draws the image of the README, a photograph degraded as a run trains and what models make of it.

    python tests/measure/draw_readme.py china.jpg runs/tail configs/example.webp [--seed 0]

The README's is of scikit-learn's sample photograph `china.jpg`, taken by Daniel Büchele, CC BY 2.0.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from archsr.app.compare.trial import GROUND_TRUTH, INPUT, degradation_config, run_trial
from archsr.app.models import ModelCache, model_choices

SIDE, GAP, LINE = 240, 6, 20
ORIGINAL = "ncnn:realesrgan-x4plus"


def main():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path)
    parser.add_argument("run")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--degradation", help="a preset, instead of that of the run")
    args = parser.parse_args()
    choices = model_choices([ORIGINAL, args.run])
    original, run = (choice.name for choice in choices)
    cache = ModelCache(choices, devices=[torch.device("cpu")], most=2)
    config = degradation_config(args.degradation or f"as {run}", choices)
    nothing = lambda done: None
    options = {"side": SIDE, "seed": args.seed, "max_pixels": 10**8, "on_progress": nothing}
    trial = run_trial(args.photo, [original, run], config, cache, **options)
    decibels = {name: f", {psnr:.2f} dB" for name, (psnr, *_) in trial.scores.items()}
    shown = {
        INPUT: "low quality",
        "bicubic": "bicubic",
        original: "Real-ESRGAN x4plus",
        run: "fine-tuned",
        GROUND_TRUTH: GROUND_TRUTH,
    }
    sheet = Image.new("RGB", (len(shown) * (SIDE + GAP) - GAP, SIDE + LINE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (name, title) in enumerate(shown.items()):
        left = number * (SIDE + GAP)
        pen.text((left, 2), title + decibels.get(name, ""), fill="black", font=font)
        sheet.paste(Image.fromarray(trial.images[name]), (left, LINE))
    sheet.save(args.out, quality=85, method=6)
    print("\n".join([*trial.steps, f"{args.out}: {args.out.stat().st_size:,} bytes"]))


if __name__ == "__main__":
    main()
