"""Every key is described where it is declared, and the reference, the schemas and `archsr config` use that text."""

import json
import subprocess
import sys

import jsonschema
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from archsr import cli
from archsr.config import PRESETS, DegradeConfig, PrepareConfig, configs_folder
from archsr.config.config_file import check, with_overrides
from archsr.config.explain import explain, keys_of, preset, tables
from archsr.config.generated import KINDS, REFERENCES, SCHEMAS, reference, schema
from archsr.config.table import described, tables_in
from archsr.config.written import value_text
from archsr.errors import UserError

CONFIGS = configs_folder()
KEYS = {f"{key.owner.__name__}.{key.name}": key for kind in KINDS.values() for key in keys_of(kind.sample())}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_is_described(key):
    text = described(key.owner, key.name)
    assert len(text) > 8, "Field(description=...), or a docstring of the table that it is"
    assert text.endswith((".", "..."))
    assert "\n" not in text


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_reference_is_what_is_declared(kind):
    assert (CONFIGS / REFERENCES[kind]).read_text() == reference(kind) + "\n", "archsr config --write"


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_schema_is_what_is_declared(kind):
    assert (CONFIGS / SCHEMAS[kind]).read_text() == schema(kind) + "\n", "archsr config --write"
    jsonschema.Draft7Validator.check_schema(json.loads(schema(kind)))


def test_a_choice_of_tables_is_in_the_reference_with_all_its_keys():
    """Alternatives are comments, which are a valid config when uncommented."""
    for table in ("model", "discriminator"):
        wanted = {t.sample().arch for t in tables_in(KINDS["train"].model_fields[table].annotation)}
        section = reference("train").split(f"[{table}]")[1].split("\n[")[0]
        others = [part.split("\n", 1)[1] for part in section.split("# or: ")[1:]]
        written = [tomli.loads(part.replace("\n# ", "\n").removeprefix("# ")) for part in others]
        taken = tomli.loads(section.split("# or: ")[0])
        assert {taken["arch"], *(part["arch"] for part in written)} == wanted
        assert len(wanted) > 2


# ---------------------------------------------------------------- schemas


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.name)
def test_a_shipped_config_names_its_schema_and_fits_it(path):
    """Editors resolve the path from the config's own folder."""
    name = path.read_text().splitlines()[0].removeprefix("#:schema ")
    assert (path.parent / name).resolve() in [(CONFIGS / n).resolve() for n in SCHEMAS.values()]
    jsonschema.validate(tomli.loads(path.read_text()), json.loads((path.parent / name).read_text()))


@pytest.mark.parametrize(
    "override",
    [
        "training.global_bach=3",
        "training.global_batch=0",
        "training.micro_batch=0",
        "training.stages.0.lr=fast",
        "training.optimizer.betas=[0.9, 1.0]",
        "training.optimizer.betas=[0.9]",
        "training.gradient_checkpointing=some",
        "model.arch=rrdb",
        "model={arch='srvgg', blocks=3}",
        "discriminator={arch='vgg', layers=3}",
        "degrade.first.blur.sigma.low=0.0",
        "degrade.quirks=['black_bordr']",
        "losses.perceptual.layers={conv9_9=1.0}",
        "losses.perceptual.sharpened=yes",
        "name=../up",
    ],
)
def test_a_schema_refuses_what_the_reader_refuses(override):
    written = with_overrides(tomli.loads((CONFIGS / "tail.toml").read_text()), [override])
    with pytest.raises(UserError):
        check(KINDS["train"], written, where="x")
    assert not jsonschema.Draft7Validator(json.loads(schema("train"))).is_valid(written)


# ---------------------------------------------------------------- archsr config


def shown(capsys, *words):
    assert cli.main(["config", *words]) == 0
    return capsys.readouterr().out


def test_a_key_is_shown_with_what_it_may_be_and_what_presets_set(capsys):
    text = shown(capsys, "degrade.first.jpeg.low")
    assert text.splitlines()[0] == "degrade.first.jpeg.low (training config, preparation config)"
    assert "Lowest quality" in text
    assert "is        number from 1 to 100\n  default   30.0" in text
    low = {p: DegradeConfig(preset=p).first.jpeg.low for p in PRESETS}
    assert [line.split()[-2:] for line in text.splitlines() if ": " in line] == [
        [f"{p}:", str(value)] for p, value in low.items() if value != 30.0
    ]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("training.stages.0.lr", ["training.stages.lr (training config)", "number above 0", "none (required)"]),
        ("training.precision", ['is        "auto", "fp32", "bf16" or "fp16"', 'default   "auto"']),
        ("training.micro_batch", ['whole number above 0 or "auto"']),
        ("data.gt_size", ["whole number from 32, a multiple of 8"]),
        ("losses.gan.sharpened", ['true, false or "auto"']),
        ("training.optimizer.betas", ["list of 2, each number from 0 to below 1"]),
        ("model.scale", ['arch = "rrdbnet")', "is        1, 2 or 4", 'arch = "srvgg")', "is        1, 2, 3 or 4"]),
        ("degrade.second.blur.probability", ["default   0.8", "bsrgan: 1.0"]),
        ("training.layers", ["each text or table with the keys below", "# weight_decay = ..."]),
        ("training", ['layers = ["conv_last"]', "# [training.ema]"]),
        ("discriminator", ['arch = "vgg"', "input_size = 128", 'arch = "patch"']),
        ("seed", ["(training config)", "(preparation config)"]),
        ("budget.minutes", ["(study config)", "default   left out"]),
        ("train.training.clip", ["(study config)"]),
    ],
)
def test_what_is_said_of_a_key(path, words):
    text = explain(path)
    for word in words:
        assert word in text


def test_every_key_can_be_asked_for():
    for path in {key.path for kind in ("train", "prepare") for key in keys_of(KINDS[kind].sample())}:
        assert explain(path).startswith(f"{path} (")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("training.global_bach", "'training.global_batch'"),
        ("losses.global_batch", "'training.global_batch'"),
        ("lr", "'training.stages.lr'"),
        ("clipp", "'training.clip'"),
        ("modle", "'model'"),
        ("degrade.first.blurr", "'degrade.first.blur'"),
    ],
)
def test_a_mistyped_key_is_answered_with_what_was_meant(path, meant, capsys):
    assert cli.main(["config", path]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"archsr: {path}: unknown key; did you mean ")
    assert meant in error
    assert error.count("\n") == 1


def test_what_is_like_no_key_is_refused_all_the_same():
    with pytest.raises(UserError, match=r"^xyzzy: unknown key \(archsr config lists the tables\)$"):
        explain("xyzzy")


def test_all_tables_are_listed():
    text = tables()
    for table in ("model", "degrade.first.blur", "losses.ms_ssim", "training.stages", "scenes", "candidates"):
        assert f"\n  {table} " in text


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_printed_whole(name):
    """The printed table means the same without the preset."""
    written = tomli.loads(preset(name))
    config = check(PrepareConfig, written, where="x").degrade
    assert config == DegradeConfig(preset=name)
    alone = check(PrepareConfig, with_overrides(written, ["degrade.preset=realesrgan"]), where="x").degrade
    assert alone.model_copy(update={"preset": name}) == config
    beside = [line for line in preset(name).splitlines() if "# default" in line]
    assert bool(beside) is (name not in ("realesrgan", "realesrnet"))


def test_a_mistyped_preset_is_answered_with_what_was_meant(capsys):
    assert cli.main(["config", "--preset", "webb"]) == 2
    assert capsys.readouterr().err == "archsr: webb: no such preset; did you mean 'web'?\n"


def test_the_flags_print_the_files(capsys):
    assert shown(capsys, "--reference") == (CONFIGS / "reference.toml").read_text()
    assert shown(capsys, "--reference", "prepare") == (CONFIGS / "prepare.toml").read_text()
    assert shown(capsys, "--schema") == (CONFIGS / "archsr.schema.json").read_text()
    assert shown(capsys, "--schema", "study") == (CONFIGS / "study.schema.json").read_text()
    assert shown(capsys) == tables() + "\n"


def test_writing_makes_the_shipped_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("archsr.config.generated.configs_folder", lambda: tmp_path)
    assert shown(capsys, "--write").splitlines() == [
        str(tmp_path / n) for n in (*REFERENCES.values(), *SCHEMAS.values())
    ]
    for path in tmp_path.iterdir():
        assert path.read_text() == (CONFIGS / path.name).read_text()


def test_a_key_is_explained_without_torch():
    code = "import sys; from archsr.cli import main; main(['config', 'training.clip']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "archsr.config" in modules
    assert not modules & {"torch", "numpy", "PIL", "accelerate"}


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_a_value_is_read_back_as_it_was(value):
    assert tomli.loads(f"value = {value_text(value)}")["value"] == value
