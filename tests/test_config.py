import re
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from archsr.config import PRESETS, QUIRKS, DegradeConfig, PrepareConfig, TrainConfig, config_file, configs_folder
from archsr.config.config_file import changes, check, differences, dump, in_words, load, with_overrides
from archsr.config.study import StudyConfig
from archsr.errors import UserError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))
BASE = {"name": "x", "model": {"arch": "rrdbnet"}, "training": {"stages": [{"iterations": 5, "lr": 1e-4}]}}


def kind_of(path):
    if "study" in path.name:
        return StudyConfig
    return PrepareConfig if "prepare" in path.name else TrainConfig


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_shipped_configs_load_and_survive_being_written_out(path):
    config = load(kind_of(path), path)
    assert check(kind_of(path), tomli.loads(dump(config)), where="again") == config


def test_the_promised_configs_are_there():
    promised = [
        "last_layer",
        "mid_layer",
        "tail",
        "full",
        "compact",
        "real_esrnet",
        "srgan",
        "esrgan",
        "demo",
        "prepare",
        "reference",
        "layer_study",
    ]
    assert {f"{name}.toml" for name in promised} <= {p.name for p in CONFIGS}


@pytest.mark.parametrize(
    ("kind", "name", "tables"),
    [
        (TrainConfig, "reference.toml", {**BASE, "training": {"stages": [{"iterations": 10000, "lr": 1e-4}]}}),
        (PrepareConfig, "prepare.toml", {}),
    ],
)
def test_the_reference_lists_every_key_at_its_default(kind, name, tables):
    path = Path(__file__).parent.parent / "configs" / name
    written = load(kind, path)
    defaults = check(kind, {**tables, **({"name": "reference"} if kind is TrainConfig else {})}, where="defaults")
    assert differences(defaults, written) == []
    if name == "reference.toml":
        assert _keys(tomli.loads(dump(defaults))) == _keys(tomli.loads(path.read_text()))


def _keys(table, prefix=""):
    return {f"{prefix}{k}" for k in table} | {
        key for k, v in table.items() if isinstance(v, dict) for key in _keys(v, f"{prefix}{k}.")
    }


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.global_bach=3", ["training.global_bach", "unknown key", "'global_batch'"]),
        ("training.stages.0.lr=fast", ["training.stages.0.lr", 'got "fast"', "valid number"]),
        ("training.stages.0.iteratons=3", ["training.stages.0.iteratons", "unknown key", "'iterations'"]),
        ("model.arch=rrdb", ["model.arch", 'got "rrdb"', "'rrdbnet'"]),
        ("model={arch='srvgg', conv=3}", ["model.conv", "unknown key", "'convs'"]),
        ("degrade.first.blur.families.iso=0.9", ["degrade.first.blur.families", "1.45"]),
        ("degrade.second.resize.up=0.9", ["degrade.second.resize", "not 1"]),
        ("degrade.first.resize.factor={low=2.0, high=1.0}", ["degrade.first.resize.factor", "above"]),
        ("degrade.preset=webb", ["degrade.preset", 'got "webb"', "'web'"]),
        ("degrade.preset=3", ["degrade.preset", "got 3"]),
        ("degrade.quirks=['black_bordr']", ["degrade.quirks.0", 'got "black_bordr"', "'black_border'"]),
        ("degrade={fidelity='faithful', quirks=['black_border']}", ["degrade.quirks", "all of them"]),
        ("degrade.antialias=1.5", ["degrade.antialias", "got 1.5", "less than or equal to 1"]),
        ("degrade.steps=['blur1']", ["degrade.steps", "exactly one of reduce, finish, bicubic"]),
        ("degrade.steps=['reduce', 'resize1']", ["degrade.steps", "in the order resize1, resize2, reduce"]),
        ("degrade.steps=['resize1', 'bicubic']", ["degrade.steps", "'reduce' instead"]),
        ("degrade.steps=['sinc', 'finish']", ["degrade.steps", "'sinc' is part of 'finish'"]),
        ("degrade.steps=['blur1', 'blur1', 'finish']", ["degrade.steps", "'blur1' appears twice"]),
        ("degrade.first.jpeg.probability=-0.1", ["degrade.first.jpeg.probability", "greater than or equal to 0"]),
        ("degrade.second.noise.sigma={low=-1.0, high=2.0}", ["degrade.second.noise.sigma.low", "got -1"]),
        ("degrade={preset='web', first={resize={up=0.9}}}", ["degrade.first.resize", "not 1"]),
        ("training.precision=bf17", ["training.precision", 'got "bf17"', "'bf16'"]),
        ("training.global_batch=-1", ["training.global_batch", "got -1", "greater than 0"]),
        ("training.optimizer.betas=[0.9, 1.0]", ["training.optimizer.betas", "less than 1"]),
        ("discriminator.arch=vg", ["discriminator.arch", 'got "vg"', "'vgg'"]),
        ("discriminator.layers=3", ["discriminator.layers", "unknown key"]),
        ("discriminator={arch='vgg'}", ["discriminator.input_size (128)", "data.gt_size (256)"]),
        ("log.tensorboard=false", ["log.tensorboard", 'write trackers = ["tensorboard"], or [] for none']),
        ("losses.lpip.weight=1.0", ["losses.lpip", "unknown key", "'lpips'"]),
        ("losses.gan.objective=hinges", ["losses.gan.objective", "'hinge'"]),
        ("losses.global_batch=4", ["losses.global_batch", "did you mean 'training.global_batch'"]),
        ("iterations=4", ["did you mean 'training.stages.iterations'"]),
        ("losses.ldl.window=4", ["losses.ldl", "window (4) must be odd"]),
        ("losses.colour.size=512", ["losses.colour.size (512)", "data.gt_size"]),
        ("model={arch='srresnet', scale=1}", ["model.scale", "got 1"]),
        ("losses.perceptual.layers={conv9_9=1.0}", ["losses.perceptual.layers", "conv9_9"]),
        ("losses.perceptual.layers={}", ["losses.perceptual.layers", "at least 1"]),
        ("data.gt_size=100", ["data.gt_size", "got 100", "multiple of 8"]),
        ("training.layers=[{name='a'}]", ["training.layers.0", "names"]),
        ("training.stages=[]", ["training.stages", "at least 1"]),
        ("training.stages.0.lr=nan", ["training.stages.0.lr", "finite"]),
        ("seed=1.5", ["seed", "got 1.5", "integer"]),
        ("name=../up", ["name", '"../up"']),
        (
            "losses={pixel={weight=0.0}, perceptual={weight=0.0}, gan={weight=0.0}}",
            ["losses", "at least one must be above 0"],
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(override, words):
    with pytest.raises(UserError) as error:
        check(TrainConfig, with_overrides(BASE, [override]), where="some.toml")
    text = str(error.value)
    assert text.startswith("some.toml: ")
    assert "\n" not in text
    for word in words:
        assert word in text


def test_more_scales_than_a_crop_has_are_refused():
    small = with_overrides(BASE, ["data.gt_size=128", "losses.ms_ssim.scales=5"])
    check(TrainConfig, small, where="unused.toml")
    with pytest.raises(UserError, match=r"losses.ms_ssim.scales \(5\).* at least 176"):
        check(TrainConfig, with_overrides(small, ["losses.ms_ssim.weight=1"]), where="some.toml")


@pytest.mark.parametrize(
    ("override", "word"),
    [("foo", "KEY=VALUE"), ("training.stages.3.lr=1", "not an index"), ("name.x=1", "is a value"), ("=3", "KEY=VALUE")],
)
def test_an_override_that_fits_nowhere_is_refused(override, word):
    with pytest.raises(UserError, match=word):
        with_overrides(BASE, [override])


def test_overrides_reach_into_lists_and_leave_the_rest():
    changed = with_overrides(BASE, ["training.stages.0.lr=0.5", "model.blocks=3", "name=y"])
    assert changed["training"]["stages"] == [{"iterations": 5, "lr": 0.5}]
    assert changed["model"] == {"arch": "rrdbnet", "blocks": 3}
    assert changed["name"] == "y"
    assert BASE["name"] == "x"


def test_a_part_of_the_second_order_keeps_its_own_defaults():
    config = check(TrainConfig, with_overrides(BASE, ["degrade.second.noise.grey=0.2"]), where="x")
    assert config.degrade.second.noise.sigma.high == 25.0
    assert config.degrade.second.blur.probability == 0.8


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_gives_defaults_and_what_is_written_wins(preset):
    plain = check(TrainConfig, with_overrides(BASE, [f"degrade.preset={preset}"]), where="x")
    own = ["degrade.first.blur.sigma.low=0.123", "degrade.second.jpeg.high=77.0", "degrade.margin=48"]
    mixed = check(TrainConfig, with_overrides(BASE, [f"degrade.preset={preset}", *own]), where="x")
    assert {d.split(":")[0] for d in differences(plain, mixed)} == {o.split("=")[0] for o in own}
    for config in (plain, mixed):
        stored = tomli.loads(dump(config))
        assert _keys(stored) == _keys(tomli.loads(dump(check(TrainConfig, BASE, where="x"))))
        assert check(TrainConfig, stored, where="again") == config
        other = {**stored, "degrade": {**stored["degrade"], "preset": "bicubic"}}
        assert check(TrainConfig, other, where="x").degrade \
            == config.degrade.model_copy(update={"preset": "bicubic"}), "a resolved config needs no preset"  # fmt: skip


def test_the_presets_are_what_they_are_named_after():
    tables = {p: check(PrepareConfig, {"degrade": {"preset": p}}, where="x").degrade for p in PRESETS}
    assert tables["realesrgan"] == DegradeConfig()
    assert differences(tables["realesrgan"], tables["realesrnet"]) == ['preset: "realesrgan" there, "realesrnet" here']
    assert tables["bsrgan"].shuffle
    assert tables["bicubic"].steps == ("bicubic",)
    assert tables["camera"].first.jpeg.low > tables["web"].first.jpeg.low
    assert DegradeConfig(preset="web") == tables["web"]
    assert {p.stem for p in (configs_folder() / "presets").glob("*.toml")} == set(PRESETS)


def test_faithful_means_all_quirks():
    assert DegradeConfig(fidelity="faithful").quirks == QUIRKS
    assert DegradeConfig().quirks == ()
    assert DegradeConfig(quirks=("shared_grey", "black_border")).quirks == ("black_border", "shared_grey")
    stored = {"fidelity": "faithful", "margin": 32}  # as runs stored it before quirks had names
    assert check(PrepareConfig, {"degrade": stored}, where="x").degrade.quirks == QUIRKS


def test_only_networks_with_blocks_recompute():
    def tables(arch):
        return {**BASE, "model": {"arch": arch}, "training": {**BASE["training"], "gradient_checkpointing": True}}

    with pytest.raises(UserError, match="gradient_checkpointing: srvgg has no blocks"):
        check(TrainConfig, tables("srvgg"), where="x")
    for arch in ("rrdbnet", "srresnet"):
        check(TrainConfig, tables(arch), where="x")


def test_files_that_are_missing_or_no_toml(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        load(TrainConfig, tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = [")
    with pytest.raises(UserError, match=r"bad\.toml: not valid TOML"):
        load(TrainConfig, tmp_path / "bad.toml")


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_override_text_breaks_the_parser(key, value):
    try:
        check(TrainConfig, with_overrides(BASE, [f"{key}={value}"]), where="x")
    except UserError as error:
        assert str(error)


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize(("preset", "sharp"), [(p, p not in ("bsrgan", "bicubic")) for p in PRESETS])
def test_targets_follow_the_degradation_unless_written(preset, sharp):
    tables = with_overrides(BASE, [f"degrade.preset={preset}", "losses.perceptual.sharpened=false"])
    losses = check(TrainConfig, tables, where="x").losses
    assert losses.pixel.sharpened is losses.ldl.sharpened is sharp
    assert losses.perceptual.sharpened is False
    assert losses.gan.sharpened is False, "the discriminator's real images are plain ones"


def test_what_is_written_of_targets_stays():
    for text in ("true", "false"):
        config = check(TrainConfig, with_overrides(BASE, [f"losses.pixel.sharpened={text}"]), where="x")
        assert config.losses.pixel.sharpened is (text == "true")
    config = check(TrainConfig, with_overrides(BASE, ["losses.gan.sharpened=auto"]), where="x")
    assert config.losses.gan.sharpened is True
    with pytest.raises(UserError, match=r"losses.pixel.sharpened.*got 'yes', expected true, false or \"auto\""):
        check(TrainConfig, with_overrides(BASE, ["losses.pixel.sharpened=yes"]), where="x")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_no_shipped_config_trains_a_sharpener_with_any_preset(path):
    if kind_of(path) is TrainConfig:
        for preset in PRESETS:
            assert load(TrainConfig, path, overrides=[f"degrade.preset={preset}"]).problem_with_targets is None


def test_sharpened_targets_of_inputs_that_are_not_are_read_and_named():
    """Configs stored by older runs contain this."""
    written = ["degrade.preset=bsrgan", "losses.pixel.sharpened=true", "losses.ldl.sharpened=true"]
    config = check(TrainConfig, with_overrides(BASE, written), where="x")
    assert check(TrainConfig, tomli.loads(dump(config)), where="again") == config
    problem = config.problem_with_targets
    assert problem is not None
    assert "\n" not in problem
    for word in ("losses.pixel.sharpened = true", "degrade.sharpen_gt = false", "'bsrgan'"):
        assert word in problem
    off = check(TrainConfig, with_overrides(BASE, [*written, "losses.pixel.weight=0.0"]), where="x")
    assert off.problem_with_targets is None, "what has weight 0 is not computed"


def test_former_names_of_keys_are_read_and_the_new_name_counts(tmp_path, capsys):
    config_file._tell_renamed.cache_clear()
    path = tmp_path / "a.toml"
    text = (configs_folder() / "tail.toml").read_text()
    path.write_text(re.sub(r"^\[validation\]\n", "[validation]\npictures = 7\n", text, flags=re.MULTILINE))
    assert load(TrainConfig, path).validation.images == 7
    assert "pictures was renamed to images" in capsys.readouterr().err
    assert load(TrainConfig, path, overrides=["validation.images=3"]).validation.images == 3


def test_changes_go_down_to_the_item_of_a_list():
    stages = [{"iterations": 2, "lr": 1e-4}, {"iterations": 1, "lr": 1e-5}]
    tables = {"name": "a", "model": {"arch": "rrdbnet"}, "training": {"stages": stages}}
    old = check(TrainConfig, tables, where="old")
    new = check(TrainConfig, with_overrides(tables, ["training.stages.1.lr=2e-5", "seed=3"]), where="new")
    assert changes(old, new) == {"seed": (0, 3), "training.stages.1.lr": (1e-5, 2e-5)}
    assert in_words(changes(old, new)) == ["seed: 0 -> 3", "training.stages.1.lr: 1e-05 -> 2e-05"]
    more = check(TrainConfig, with_overrides(tables, ["training.stages=[{iterations=2,lr=1e-4}]"]), where="more")
    (path,) = changes(old, more)
    assert path == "training.stages"
    assert changes(old, old) == {}
