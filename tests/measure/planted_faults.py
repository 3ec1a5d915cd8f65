"""Plants faults into a copy of archsr, one at a time, and runs the tests that should see each: killed or survived.

    python tests/measure/planted_faults.py [WORD ...]      (only the faults whose description or file has a WORD)

A fault is a line of code made subtly wrong. One that survives stands for a promise that no test keeps.
"""

# ruff: noqa: E501
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# (what is wrong, file, what stands there, what is put there, the tests that should see it)
FAULTS = [
    ("a file is not flushed", "utils/atomic.py", "        sync_file(temporary)\n", "", "test_atomic.py"),
    ("a folder is not flushed after a rename", "utils/atomic.py", "        sync_folder(path.parent)\n    finally:\n        temporary.unlink", "    finally:\n        temporary.unlink", "test_atomic.py"),
    ("a checkpoint's folder is not flushed", "checkpoint/writing.py", "    sync_folder(temporary)\n", "", "test_atomic.py"),
    ("a checkpoint's files are not flushed", "checkpoint/writing.py", "        sync_file(folder / name)\n", "        pass\n", "test_atomic.py"),
    ("a checkpoint is not verified before it is loaded", "checkpoint/folder.py", 'sha256(path) != known["sha256"]', "False", "test_checkpoint.py"),
    ("pruning keeps one fewer", "checkpoint/keeping.py", "ordered[-keep.newest :]", "ordered[-keep.newest + 1 :]", "test_checkpoint.py test_saver.py"),
    ("of equal scores the newer is best", "checkpoint/keeping.py", "-s.step)", "s.step)", "test_checkpoint.py test_saver.py"),
    ("lines match within 4 pixels", "metrics/lines.py", "NEAR = 2.0", "NEAR = 4.0", "evaluation/test_architecture.py"),
    ("lines match when turned by 20 degrees", "metrics/lines.py", "np.radians(10.0)", "np.radians(20.0)", "evaluation/test_architecture.py"),
    ("a blurred line is lost", "metrics/lines.py", "WEAKEST = 0.33", "WEAKEST = 0.9", "evaluation/test_architecture.py"),
    ("lines are false texture", "evaluation/architecture.py", "    flat &= ~", "    flat & ~", "evaluation/test_architecture.py"),
    ("sharpened detail is false texture", "evaluation/architecture.py", "max(before, filtered)", "before", "evaluation/test_architecture.py"),
    ("ties are wins", "evaluation/statistics/bootstrap.py", "flat > 0 if higher_is_better else flat < 0", "flat >= 0 if higher_is_better else flat <= 0", "evaluation/test_statistics.py evaluation/test_evaluate.py"),
    ("ties are tendencies", "evaluation/summary.py", "sum(c > 0 for c in changes)", "sum(c >= 0 for c in changes)", "evaluation/test_evaluate.py"),
    ("the bootstrap takes a mean of the scenes' means", "evaluation/statistics/bootstrap.py", "return (sums @ often) / (counts @ often)", "return ((sums / counts) @ often) / sums.shape[-1]", "evaluation/test_statistics.py"),
    ("the bootstrap takes images for scenes", "evaluation/statistics/bootstrap.py", "_percentiles(scenes), axis", "_percentiles(int(counts.sum())), axis", "evaluation/test_statistics.py evaluation/test_evaluate.py"),
    ("intervals are not widened for few scenes", "evaluation/statistics/bootstrap.py", "-math.sqrt(scenes / (scenes - 1)) * _number(stats.t.ppf(0.975, scenes - 1))", "-1.96", "evaluation/test_statistics.py"),
    ("NIQE takes the border in", "evaluation/metrics.py", "niqe(tensor_to_pixels(sr), border=border)", "niqe(tensor_to_pixels(sr))", "evaluation/test_evaluate.py"),
    ("PSNR takes the border in", "metrics/psnr_ssim.py", "border : image.shape[2] - border, border : image.shape[3] - border", "border:, border:", "test_metrics.py"),
    ("the mild third has the strong images", "evaluation/statistics/strata.py", "if of(r) < low]", "if of(r) >= high]", "evaluation/test_strata.py"),
    ("strength depends on the size of the pair", "evaluation/statistics/strata.py", "replace(drawn, gt_size=side)", "drawn", "evaluation/test_strata.py"),
    ("displacements of lines are not tied to their neighbours'", "metrics/bend.py", "_TURN = 0.03", "_TURN = 0.0", "evaluation/test_architecture.py"),
    ("lines are matched without blurred copies", "metrics/bend.py", "_BLURS = (1.0, 2.5)", "_BLURS = (0.1, 0.2)", "evaluation/test_architecture.py"),
    ("colours of a whole image make up for each other", "metrics/colour.py", "SQUARE = 32", "SQUARE = 9999", "test_colour.py evaluation/test_architecture.py"),
    ("scenes that an ancestor saw stay in", "evaluation/seen.py", "        pairs = _without(pairs, hit)\n", "", "training/test_continued.py"),
    ("an ancestor's validation photographs count as unseen", "evaluation/seen.py", '("train", "val")', '("train",)', "training/test_continued.py"),
    ("a resumed run forgets its ancestors", "training/opening.py", "ancestors=progress.ancestors", "ancestors=()", "training/test_continued.py"),
    ("a gain that bicubic has too goes unsaid", "evaluation/report/advice.py", "if plain < gain - 1e-9:", "if True:", "evaluation/test_advice.py"),
    ("truer and softer is simply taken", "evaluation/report/advice.py", "if truth and sharpness and truth != sharpness:", "if False:", "evaluation/test_advice.py"),
    ("strength is chosen on the test pairs", "evaluation/blend.py", 'split="val"', 'split="test"', "evaluation/test_card.py"),
    ("what may not be chosen is chosen", "evaluation/selection.py", "if lost > self.floor:", "if False:", "evaluation/test_judge.py"),
    ("noise wins", "evaluation/selection.py", "> max(least, gain.noise)", "> least", "evaluation/test_judge.py"),
    ("at a tie the softer one stays", "evaluation/selection.py", "-farther.mean > 2 * farther.noise", "False", "evaluation/test_judge.py"),
    ("a verdict needs no test by changes of sign", "evaluation/statistics/bootstrap.py", "if self.permutation_p > level:", "if False:", "evaluation/test_statistics.py"),
    ("other metrics are not corrected for their number", "evaluation/statistics/bootstrap.py", "(number - np.arange(number))", "np.ones(number)", "evaluation/test_statistics.py evaluation/test_verdicts.py"),
    ("other metrics are tested whatever the primary says", "evaluation/statistics/verdicts.py", "if n and not called[0]:", "if False:", "evaluation/test_verdicts.py"),
    ("weights have verdicts on what chose them", "evaluation/statistics/verdicts.py", "pairs.split != \"val\"", "True", "evaluation/test_card.py"),
    ("figures of a study are those of older weights", "study/results.py", "-{sha256(Path(weights))[:16]}", "", "test_study.py"),
    ("a changed file counts as unchanged", "data/prepare/known.py", "kept[\"stamps\"].get(path) == stamps[path]", "True", "prepare/test_versions.py"),
    ("a shard stays though a photograph of it is gone", "data/prepare/writing/assemble.py", "            spoiled.add(placed.shard)\n", "            pass\n", "prepare/test_versions.py"),
    ("what changes meanwhile is kept", "data/prepare/writing/assemble.py", "if source.kind or source.sha256 != first[source.path]", "if False", "prepare/test_versions.py"),
    ("inspect does not compare samples with photographs", "data/prepare/inspect_shards.py", "!= listed.get(sample.photo, \"\") and listed", "== 0", "prepare/test_versions.py"),
    ("the signs of one shop join two houses", "data/prepare/duplicates/buildings.py", "len(np.unique(cells[:, 1])) >= _ROWS", "True", "prepare/test_neighbours.py"),
    ("a run goes on with the newest photographs", "training/data.py", "if trained_on not in (\"\", manifest.fingerprint)", "if False", "training/test_runs.py"),
    ("the label replaces the XMP", "upscaling/label.py", "_parsed(xmp or _EMPTY.encode())", "_parsed(_EMPTY.encode())", "upscaling/test_label.py"),
    ("a generated image becomes an enhanced one", "upscaling/label.py", "if former[_TYPE] in _STRONGER", "if False", "upscaling/test_label.py"),
    ("line breaks of XMP are lost", "upscaling/label.py", "{quoteattr(value)}", "'{escape(value)}'", "upscaling/test_label.py"),
    ("XMP of a PNG is compressed", "upscaling/one_image.py", "        with replacing(path) as whole:\n            add(path, block, whole)\n", "        image.pngsave(str(path))\n", "upscaling/test_label.py"),
    ("the entry has the hash of other bytes", "exporting/openmodeldb.py", "sha256(file)", "sha256(Path(__file__))", "test_export_papers.py"),
    ("an unknown licence becomes the official one", "exporting/card.py", 'return "BSD-3-Clause" if _is_official(source) else ""', 'return "BSD-3-Clause"', "test_export_papers.py"),
    ("darktable's graph has other names", "exporting/darktable.py", "        _rename_ends(graph)\n", "", "test_export_papers.py"),
    ("another strength borrows the score", "exporting/card.py", "strength not in (None, 1) or scores", "scores", "test_export.py"),
    ("models see results that are not rounded", "evaluation/suite.py", "(image.clamp(0, 1) * 255).round().div(255)", "image.clamp(0, 1)", "evaluation"),
    ("JPEG's tables are not scaled below quality 50", "degradation/jpeg.py", "quality < 50, 5000 / quality", "quality < 50, 100 / quality", "degradation"),
    ("chroma is not halved", "degradation/jpeg.py", "table * factor", "table * factor.sqrt()", "degradation"),
    ("Poisson noise of one strength", "degradation/noise.py", "2 ** torch.ceil(torch.log2(_distinct(values, canvas)))", "256.0 * torch.ones(len(values))", "degradation"),
    ("grey noise is coloured", "degradation/noise.py", "if grey else (b, c, h, w)", "if False else (b, c, h, w)", "degradation"),
    ("sinc last with another probability", "degradation/recipe.py", "rand(rng, n) >= 0.5, batch", "rand(rng, n) >= 0.7, batch", "degradation"),
    ("the pool gives back what it was given", "degradation/pool.py", "self.lq[slots] = to_uint8(pair.lq)", "pass", "degradation training/test_parts.py"),
    ("all samples of a batch share their draws", "degradation/recipe.py", 'once if "batch_choices" in config.quirks else each', "once", "degradation"),
    ("an epoch is not shuffled anew", "data/stream/plan.py", 'generator(plan.seed, "samples", epoch, number)', 'generator(plan.seed, "samples", 0, number)', "stream"),
    ("ranks take the same samples", "data/stream/plan.py", "(part * self.world + self.rank) * self.micro_batch", "part * self.world * self.micro_batch", "stream"),
    ("nothing is mirrored", "data/stream/reader.py", "flip = hflip and float(torch.rand((), generator=rng)) < 0.5", "flip = False", "stream"),
    ("turning turns gt but not lq", "data/stream/reader.py", "_taken(small, flip, turns, lq_out)", "_taken(small, flip, 0, lq_out)", "prepare/test_paired.py"),
    ("a damaged checkpoint counts as newest", "checkpoint/folder.py", "if (problem := verified.problem_with(there[step][0]))", "if (problem := \"\")", "test_mixed_checkpoints.py"),
    ("a user's copy is a checkpoint", "runs/folders.py", "_STEP.fullmatch(name)\n    return int(found[1]) if found and name == name_of(int(found[1])) else None", "_STEP.match(name)\n    return int(found[1]) if found else None", "test_mixed_checkpoints.py"),
    ("a window is one shard short", "data/stream/plan.py", "range(0, len(order), plan.window)", "range(0, len(order) - 1, plan.window)", "stream"),
    ("mirroring turns gt but not lq", "data/stream/reader.py", "_taken(small, flip, turns, lq_out)", "_taken(small, False, turns, lq_out)", "prepare/test_paired.py"),
    ("a damaged sample is not noticed", "data/stream/reader.py", "if not agrees(data, place.digest):", "if False:", "stream"),
    ("losses are not weighted", "training/step.py", "scale(term.weight * value * share)", "scale(value * share)", "training/test_step.py"),
    ("accumulated gradients are not averaged", "training/step.py", "(loss * share).backward()", "(loss).backward()", "training/test_step.py training/test_parts.py"),
    ("the discriminator learns while it judges", "training/step.py", "parts.raw_d.requires_grad_(False)", "pass", "training/test_step.py training/test_adversarial.py"),
    ("the average has no warm-up", "training/ema.py", "(1 + step) / (10 + step)", "1.0", "training/test_parts.py"),
    ("the average moves by the decay", "training/ema.py", "live, 1 - decay)", "live, decay)", "training/test_parts.py"),
    ("clipping comes without unscaling", "training/step.py", "nn.utils.clip_grad_norm_", "(lambda *_: None)", "training/test_schedule.py"),
    ("biases decay", "training/optim.py", "if decay and not config.decay_biases:", "if False:", "training/test_schedule.py"),
    ("a plateau needs no least rise", "training/schedule.py", ", least=place.stage.min_delta)", ")", "training/test_schedule.py"),
    ("cosine ends halfway", "training/schedule.py", "(1 + math.cos(math.pi * share)) / 2", "(1 + math.cos(math.pi * share / 2)) / 2", "training/test_schedule.py"),
    ("a skipped iteration is taken", "training/step.py", "return not bad, int(stop)", "return True, int(stop)", "training/test_health.py"),
    ("the device updates what it should skip", "training/step.py", "optimizer.found_inf = skip ", "optimizer.found_inf = skip * 0 ", "training/test_health.py"),
    ("a skipped iteration moves the average", "training/ema.py", "(1 - decay) * (1 - skip)", "(1 - decay) * (1 - 0 * skip)", "training/test_health.py"),
    ("old copies of weights are used", "models/cast_weights.py", "self.versions == _versions(self.sources) and", "", "models/test_lean.py training/test_precision.py"),
    ("the pool waits for the device", "degradation/pool.py", "slots = send(places, self.lq.device)", "slots = places.to(self.lq.device)", "fake_gpu/test_training.py"),
    ("the discriminator is not clipped", "training/step.py", "clip=run.config.discriminator.clip", "clip=0.0", "training/test_one_step.py"),
    ("bad iterations are never too many", "training/faults/health.py", "len(progress.skipped) >= run", "len(progress.skipped) > run", "training/test_health.py"),
    ("what is enlarged moves by half a pixel", "upscaling/resizing.py", "idx=0.5 - 0.5 / across", "idx=0.0", "upscaling/test_round_trip.py"),
    ("grey scans saved as RGB get a tint", "upscaling/one_image.py", "or is_colourless(source, page=number, max_pixels=options.max_pixels)", "", "upscaling/test_phone_files.py"),
    ("a damaged file gets another's reason", "upscaling/files.py", "why_unreadable(pair[0], error)", "error", "upscaling/test_upscale.py"),
    ("pieces of the enlarging part see no neighbours", "models/rrdbnet.py", "_TAIL_HALO = 2", "_TAIL_HALO = 0", "upscaling/test_upscale.py"),
    ("the host waits for each tile before the next", "upscaling/upscaler.py", 'sum(d.type == "cuda" for d in self.devices)', "0", "fake_gpu/test_upscaling.py"),
    ("few images are encoded at a time on a GPU", "upscaling/files.py", "ThreadPoolExecutor(count)", "ThreadPoolExecutor(2)", "upscaling/test_pipe.py"),
    ("a preflight is answered before the guard", "app/server.py", "    _put_guard_first(blocks.app)\n", "", "app"),
]  # fmt: skip


def planted(number, folder):
    """A copy of the project with fault `number`; None where the line it changes is not there."""
    _, file, there, instead, _ = FAULTS[number]
    for name in ("archsr", "configs", "launch", "tests", "shards"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".no-cache"))
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    path = folder / "archsr" / file
    text = path.read_text()
    if there not in text:
        return False
    path.write_text(text.replace(there, instead))
    return True


def main():
    words = sys.argv[1:]
    survived = []
    for number, (what, file, _, _, tests) in enumerate(FAULTS):
        if words and not any(w in f"{what} {file}" for w in words):
            continue
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "project"
            folder.mkdir()
            started = time.monotonic()
            if not planted(number, folder):
                print(f"NOT THERE  {what} ({file})", flush=True)
                survived.append(what)
                continue
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly",
                 *(f"tests/{t}" for t in tests.split())],
                cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True,
            )  # fmt: skip
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        word = "killed" if done.returncode == 1 and failed else "SURVIVED" if done.returncode == 0 else "BROKEN"
        survived += [what] * (word != "killed")
        by = failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else done.stdout[-200:]
        print(f"{word:9} {time.monotonic() - started:5.0f} s  {what} ({file}) {by}", flush=True)
    print(f"{len(survived)} survived: {'; '.join(survived) or 'none'}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
