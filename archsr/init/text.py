"""The template of the config that `archsr init` writes."""

TEMPLATE = """\
# Made by archsr init for {count} photographs of {scenes} scenes, smaller side about {side} pixels, and {machine}.
# archsr config KEY explains a key; archsr plan shows what else would fit.
name = "{name}"
seed = 0

[model]
arch = "rrdbnet"
scale = 4
blocks = 23
weights = "{weights}"  # {why_weights}

[losses]  # {why_objective}
{objective}

[data]
shards = "{shards}"
gt_size = {gt}  # {why_gt}
workers = {workers}  # decoding processes for each that trains: its share of {cores} cores, at most 8

[degrade]
preset = "realesrgan"  # archsr preview shows it on your photographs; "camera" and "web" are others
pool_batches = {pool}  # 180 pairs, as in the reference

[training]
layers = {layers}  # {why_layers}
global_batch = {batch}  # of all processes together; 12 in the reference
micro_batch = {micro}  # everything fits
precision = "{precision}"  # {why_precision}
gradient_checkpointing = "none"
# {total} iterations of {batch} crops: about {seen} of each photograph trained on. 1e-4 as the reference, then finer
stages = [{{ iterations = {first}, lr = 1e-4 }}, {{ iterations = {second}, lr = 1e-5 }}]

[validation]
every = {every}  # iterations
samples = {samples}  # pairs at most
best = "balance"  # what chooses the weights to keep: perceptual distance, with PSNR and NIQE kept

[checkpoint]
every = {every}  # so much work is lost at most
keep = 2

[log]
every = 20
"""
