"""By hand: what other programs make of exported files, each with its own loader, against archsr's own result.

    ARCHSR_OTHER_PYTHON=others/bin/python python tests/measure/other_programs.py WEIGHTS PHOTO [FOLDER]

That environment has `pip install torch spandrel onnxruntime openvino ncnn coremltools pillow`. Prints the difference in
levels of 255 on the middle of PHOTO, on the CPU. FOLDER keeps the exported files, and those in it
are not made again. ARCHSR_INFERENCE_SCRIPT, the path of
Real-ESRGAN's inference_realesrgan.py, adds a row for it; ARCHSR_PEER_PYTHON is the environment of tests/peers.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from archsr.api.model import load_model
from archsr.exporting import export, targets_of
from archsr.upscaling.opening import open_model

SIDE = 160, 240  # height, width of the crop

# each gets the exported file, in.png, out.npy, and must not import archsr
START = """
import sys, numpy as np
from PIL import Image
file, source, target = sys.argv[1:]
pixels = np.asarray(Image.open(source))
x = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / 255
def finish(y, version):
    np.save(target, (np.asarray(y)[0].clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))
    print(version)
"""
SPANDREL = """
import torch, spandrel
model = spandrel.ModelLoader().load_from_file(file).eval()
assert isinstance(model, spandrel.ImageModelDescriptor)
with torch.inference_mode():
    finish(model(torch.from_numpy(x)), spandrel.__version__)
"""
TORCHSCRIPT = """
import torch
with torch.inference_mode():
    finish(torch.jit.load(file)(torch.from_numpy(x)), torch.__version__)
"""
ONNXRUNTIME = """
import onnxruntime
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
finish(session.run(None, {session.get_inputs()[0].name: x})[0], onnxruntime.__version__)
"""
OPENVINO = """
import openvino
model = openvino.Core().compile_model(file, "CPU", OPTIONS)
finish(model(x)[0], openvino.__version__.split("-")[0])
"""
NCNN = """
import ncnn
net = ncnn.Net()
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = HALF
assert net.load_param(file) == 0 and net.load_model(file[:-5] + "bin") == 0
run = net.create_extractor()
image = x[0].copy()
run.input("data", ncnn.Mat(image))
code, mat = run.extract("output")
assert code == 0
finish(np.array(mat)[None], ncnn.__version__)
"""
COREML = """
import coremltools, torch
sides = [coremltools.RangeDim(16, 2048, default=64) for _ in "hw"]
coremltools.convert(
    torch.jit.load(file), inputs=[coremltools.TensorType("image", (1, 3, *sides))], convert_to="mlprogram",
    minimum_deployment_target=coremltools.target.iOS16,
).save(file[:-2] + "mlpackage")
print("converted by", coremltools.__version__)
"""
# Real-ESRGAN's script; torchvision has dropped a module that basicsr imports
INFERENCE = """
import runpy, sys, types, torchvision.transforms.functional as tv
shim = types.ModuleType("torchvision.transforms.functional_tensor")
shim.rgb_to_grayscale = tv.rgb_to_grayscale
sys.modules[shim.__name__] = shim
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# program, format of the file, its code
PROGRAMS = [
    ("spandrel (chaiNNer, ComfyUI)", "pth", SPANDREL),
    ("spandrel", "safetensors", SPANDREL),
    ("ncnn (Upscayl), 32 bits", "ncnn", NCNN.replace("HALF", "False")),
    ("ncnn (Upscayl), its default 16 bits", "ncnn", NCNN.replace("HALF", "True")),
    ("onnxruntime", "onnx", ONNXRUNTIME),
    ("OpenVINO, 32 bits", "onnx", OPENVINO.replace("OPTIONS", '{"INFERENCE_PRECISION_HINT": "f32"}')),
    ("OpenVINO, its default", "onnx", OPENVINO.replace("OPTIONS", "{}")),
    ("the graph in darktable's package", "darktable", ONNXRUNTIME),
    ("TorchScript", "torchscript", TORCHSCRIPT),
    ("CoreML", "torchscript", COREML),
]


def other(python, code, file, folder):
    """The program's version and its result, or None if it made none."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = [python, "-c", START + code, str(file), str(folder / "in.png"), str(folder / "out.npy")]
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1][:90]}", None
    result = folder / "out.npy"
    pixels = np.load(result) if result.exists() else None
    result.unlink(missing_ok=True)
    return done.stdout.strip().splitlines()[-1], pixels


def by_inference_script(python, script, file, folder):
    """The result of Real-ESRGAN's inference_realesrgan.py, as its users call it."""
    words = ["-n", "RealESRGAN_x4plus", "--model_path", str(file), "-i", str(folder / "in.png"), "-o", str(folder)]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([python, "-c", INFERENCE, script, *words, "--fp32"], check=True, capture_output=True, env=env)
    return np.asarray(Image.open(folder / "in_out.png").convert("RGB"))


def unpacked(package, folder):
    """The graph of a .dtmodel, found as darktable does: a folder with config.json, then model_x4.onnx."""
    with zipfile.ZipFile(package) as opened:
        opened.extractall(folder / "models")
    (config,) = (folder / "models").glob("*/config.json")
    assert json.loads(config.read_text())["task"] == "upscale"
    return next(config.parent.glob("model_x*.onnx"))


def row(program, version, name, found, ours):
    if found is None:
        return f"| {program} | {version} | `{name}` | not run | |"
    levels = np.abs(found.astype(int) - ours)
    return f"| {program} | {version} | `{name}` | {levels.max()} | {(levels > 0).any(2).mean():.2%} |"


def main():
    weights, photo, *kept = sys.argv[1:]
    whole = np.asarray(Image.open(photo).convert("RGB"))
    top, left = (whole.shape[0] - SIDE[0]) // 2, (whole.shape[1] - SIDE[1]) // 2
    pixels = whole[top : top + SIDE[0], left : left + SIDE[1]]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        Image.fromarray(pixels).save(folder / "in.png")
        load_model(weights, device="cpu").upscale_file(folder / "in.png", folder / "ours.png")
        ours = np.asarray(Image.open(folder / "ours.png")).astype(int)
        print("| program | version | file | largest difference, levels | pixels that differ |")
        print("|---|---|---|---:|---:|")
        exported = Path(kept[0]) if kept else folder
        files = {}
        for form in dict.fromkeys(form for _, form, _ in PROGRAMS):
            (named,) = targets_of(weights, [form], open_model(weights)[0])
            files[form] = exported / named.name
            if not files[form].exists():
                export(weights, files[form])
        for program, form, code in PROGRAMS:
            file = unpacked(files[form], folder) if form == "darktable" else files[form]
            version, found = other(os.environ["ARCHSR_OTHER_PYTHON"], code, file, folder)
            print(row(program, version, files[form].name, found, ours), flush=True)
        if "ARCHSR_INFERENCE_SCRIPT" in os.environ:  # it knows x4plus and its kind only
            python, script = os.environ["ARCHSR_PEER_PYTHON"], os.environ["ARCHSR_INFERENCE_SCRIPT"]
            found = by_inference_script(python, script, files["pth"], folder)
            print(row("Real-ESRGAN's inference script", "realesrgan 0.3.0", files["pth"].name, found, ours))


if __name__ == "__main__":
    main()
