"""What is mistyped is told in one line, with what was perhaps meant."""

import argparse
import runpy
from pathlib import Path

import pytest

import archsr
from archsr.cli import arguments, main, parser

training_parser = runpy.run_path(str(Path(archsr.__file__).parent / "train.py"))["parser"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("traim", "archsr traim: no such command; did you mean 'train'? (archsr --help)"),
        ("upscale a b --modle x", "--modle is not a flag; did you mean '--model'"),
        ("upscale a b --model x --scael=3", "--scael is not a flag; did you mean '--scale'? (archsr upscale --help)"),
        ("bench decod", "invalid choice 'decod'; did you mean 'decode'"),
        ("completion nushell", "invalid choice 'nushell'; choose one of bash, zsh, tcsh (archsr completion --help)"),
        ("trian --config a.toml", "archsr trian: no such command; did you mean 'train'? (archsr --help)"),
        ("doctor --xyz", "--xyz is not a flag (archsr doctor --help)"),
        ("app --port x", "--port: 'x': expected a whole number from 1 (archsr app --help)"),
        ("submit", "required: config (archsr submit --help)"),
        ("doctor --veri x.toml", "--veri is not a flag; did you mean '--verify'? (archsr doctor --help)"),
        ("doctor --verify x.toml --processes 0", "--processes: '0': expected a whole number from 1"),
        (
            "train a.toml --iterations 200",
            "--iterations is not a flag but a key of the config, training.stages: --set ",
        ),
        ("train a.toml --lr=1e-4", "--lr is not a flag but a key of the config, training.stages: --set "),
        ("upscale a b --iterations 3", "--iterations is not a flag (archsr upscale --help)"),
        ("train --resume", "one of the arguments CONFIG --config is required (archsr train --help)"),
        ("train a.toml --config b.toml", "--config: not allowed with argument CONFIG (archsr train --help)"),
    ],
)
def test_one_line_with_what_was_meant(words, told, capsys):
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def flags():
    """Every verb with each of its long flags."""
    verbs = next(a for a in parser()._actions if isinstance(a.choices, dict)).choices
    return [(verb, flag) for verb, made in verbs.items() for flag in made._option_string_actions if flag[:2] == "--"]


@pytest.mark.parametrize(("verb", "flag"), flags())
def test_a_shortened_flag_is_no_flag(verb, flag, capsys):
    """It would change its meaning as soon as another flag begins like it."""
    if flag in ("--help", "--y", "--on", "--to"):
        return
    assert main([verb, flag[:-1]]) == 2
    assert f"{flag[:-1]} is not a flag; did you mean '{flag}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["a.toml --resume", "--resume a.toml", "--config a.toml --resume", "--resume --config=a.toml"]
)
def test_training_takes_its_config_like_the_other_verbs(words):
    for made, before in ((parser(), ["train"]), (training_parser(), [])):
        args = made.parse_args([*before, *words.split(), "--set", "seed=1"])
        assert (args.config, args.resume, args.set) == (Path("a.toml"), True, ["seed=1"])


def test_without_words_there_is_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert "examples:\n  archsr demo\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (arguments.size, {"16GB": 16e9, "1.5 GiB": 1.5 * 2**30, "7": 7}, ["much", "0", "-1GB", ""]),
        (arguments.task, {"2/4": (2, 4)}, ["0/4", "5/4", "2", "a/b"]),
        (arguments.share, {"0": 0, "1": 1, "0.25": 0.25}, ["-0.1", "1.01", "nan", "x"]),
        (arguments.factor, {"1.5": 1.5, "16": 16}, ["0", "16.1", "inf", "nan", "x"]),
        (arguments.quality, {"1": 1, "100": 100}, ["0", "101", "9.5", "²"]),
    ],
)
def test_values(kind, good, bad):
    for text, value in good.items():
        assert kind(text) == value
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="expected"):
            kind(text)
