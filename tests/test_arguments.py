"""What is mistyped is told in one line, with what was perhaps meant."""

import argparse

import pytest

from archsr.cli import arguments, main


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
        ("doctor --veri x.toml --processes 0", "--processes: '0': expected a whole number from 1"),
    ],
)
def test_one_line_with_what_was_meant(words, told, capsys):
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


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
