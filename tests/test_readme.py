"""What the pages say can be done, can: every command parses, every file and key named is there; quick ones are run."""

import argparse
import ast
import re
import runpy
import shlex
from pathlib import Path

import pytest
import tomli
import torch
from accelerate.commands.launch import launch_command_parser

from archsr import cli
from archsr.config import PrepareConfig, TrainConfig, config_file
from archsr.data.drawn_photos import draw_photos
from archsr.init import Machine, init
from archsr.models.build import build
from archsr.training.layers import select

ROOT = Path(__file__).resolve().parent.parent
TRAIN = runpy.run_path(str(ROOT / "archsr" / "train.py"))  # as a file: `archsr.train` is the function
PAGES = (
    "README.md", "CONTRIBUTING.md", "configs/README.md", "configs/RESULTS.md", "launch/README.md", "shards/README.md",
)  # fmt: skip
# what is added to a copy of the project is tested there: test_contributing.py
TEXTS = {name: (ROOT / name).read_text().split("\n## Add a loss")[0] for name in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OURS = re.compile(r"(\w+=\S+ )?(archsr|accelerate|python|sbatch|launch/)\b")
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|\.\.\.|--[a-z-]+$")  # PHOTOS, RUN: the reader's own; or a flag is mentioned


def blocks(text, language):
    return [body for kind, body in FENCE.findall(text) if kind == language]


def spans(text):
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def commands_of(block):
    """The commands of a sh block as lists of words, environment variables taken off."""
    for line in block.replace("\\\n", " ").splitlines():
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words:
                yield words


def all_commands():
    """Pairs of a page and a command: of its sh blocks, and of what in its text begins like one of ours."""
    for page, text in TEXTS.items():
        for words in (w for block in blocks(text, "sh") for w in commands_of(block)):
            yield page, words
        for span in spans(text):
            yield from ((page, words) for words in commands_of(span) if OURS.match(span))


COMMANDS = [pytest.param(words, id=f"{page}: {' '.join(words)[:70]}") for page, words in all_commands()]
VERBS = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction)).choices


def checked_overrides(args, kind):
    """The config that a command would run with: unknown keys and values that do not fit raise."""
    path = getattr(args, "config", None)
    if path == Path("archsr.toml"):  # what `archsr init` writes
        path = Path("configs/tail.toml")
    tables = config_file.read(ROOT / path) if path else {}
    return config_file.check(kind, config_file.with_overrides(tables, args.set), where=str(path))


def check_archsr(words):
    if len(words) == 1 or words[1] == "--help":
        return
    parser = VERBS[words[1]]
    flags = [w.split("=")[0] for w in words[2:] if w.startswith("--")]
    assert set(flags) <= set(parser._option_string_actions), f"archsr {words[1]} has no {flags}"
    if PLACEHOLDER.search(" ".join(words).removesuffix("--dry-run")) or len(words) == 2:
        return
    args = cli.parser().parse_args(words[1:])
    if words[1] == "prepare":
        checked_overrides(args, PrepareConfig)
    elif words[1] in ("train", "plan", "submit", "preview"):
        checked_overrides(args, TrainConfig)


def check_training(words):
    """`accelerate launch [options] archsr/train.py --config ...`, or the same with python."""
    at = next(i for i, w in enumerate(words) if w.endswith("train.py"))
    if words[0] == "accelerate":
        _, unknown = launch_command_parser().parse_known_args(words[2:])
        assert not [w for w in unknown if words.index(w) < at]
    if "..." in words:
        return
    args = TRAIN["parser"]().parse_args(words[at + 1 :])
    checked_overrides(args, TrainConfig)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_is_one(words):
    for word in words:
        if re.match(r"(archsr|configs|launch|tests)/", word):
            assert (ROOT / word).exists(), word
        if extra := re.search(r"\.\[(\w+)\]", word):
            assert extra[1] in tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if Path(words[0]).name == "archsr":
        check_archsr(["archsr", *words[1:]])
    elif len(words) > 1 and any(w.endswith("/train.py") for w in words):
        check_training(words)


def test_the_pages_have_commands():
    assert len([w for p, w in all_commands() if p == "README.md"]) > 15
    assert {w[1] for _, w in all_commands() if w[0] == "archsr" and len(w) > 1} >= {"prepare", "evaluate", "upscale"}


@pytest.mark.parametrize("page", TEXTS)
def test_every_file_that_a_page_names_is_there(page):
    named = [s for s in spans(TEXTS[page]) if re.fullmatch(r"(archsr|configs|launch|tests|\.ci)/[\w./-]+", s)]
    absent = [n for n in named if not (ROOT / n).exists()]
    for file, _, heading in re.findall(r"\]\(([^)#:]+)(#([^)]+))?\)", TEXTS[page]):
        there = (ROOT / page).parent / file
        if not there.exists() or (heading and heading not in headings(there)):
            absent.append(f"{file}#{heading}")
    assert not absent


def headings(page):
    """The anchors of a page, as Markdown's readers make them."""
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in found]


def symbols(path):
    """The names that a module defines, those of a class's body as `Class.name`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        for defined in defined_names(node):
            names.add(defined)
            names.update(f"{defined}.{inner}" for child in getattr(node, "body", []) for inner in defined_names(child))
    return names


def defined_names(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [t.id for t in targets if isinstance(t, ast.Name)]


CHANGES = TEXTS["README.md"].split("## To change X, open Y")[1].split("\n## ")[0]
PLACES = re.findall(r"`(archsr/[\w/]+\.py)`(?:: ((?:`[\w.]+`(?:, )?)+))?", CHANGES)


def test_the_table_of_changes_names_places():
    assert len(PLACES) > 40


@pytest.mark.parametrize(("file", "named"), PLACES)
def test_a_place_of_the_table_of_changes_is_there(file, named):
    wanted = set(spans(named))
    assert wanted, f"{file}: the row names no symbol"
    assert wanted <= symbols(ROOT / file)


@pytest.mark.parametrize("page", TEXTS)
def test_every_key_that_a_page_names_is_in_the_reference(page):
    known = set(paths_of(tomli.loads((ROOT / "configs" / "reference.toml").read_text())))
    tables = "|".join(k for k in TrainConfig.model_fields)
    named = [m[1] for s in spans(TEXTS[page]) if (m := re.fullmatch(rf"((?:{tables})(?:\.[a-z_]+)+)(?: = .+)?", s))]
    assert not [k for k in named if k not in known and not k.endswith((".jsonl", ".py"))]


def paths_of(tables, prefix=""):
    for key, value in tables.items():
        yield prefix + key
        yield from paths_of(value, f"{prefix}{key}.") if isinstance(value, dict) else ()


def test_the_overrides_in_the_text_fit():
    found = [s for text in TEXTS.values() for s in spans(text) if s.startswith("--set ") and "a.b=c" not in s]
    assert found
    for span in found:
        args = TRAIN["parser"]().parse_args(["--config", "configs/tail.toml", *shlex.split(span)])
        checked_overrides(args, TrainConfig)


@pytest.mark.gate
def test_the_short_way_is_what_init_prints(tmp_path, monkeypatch):
    """Also its numbers, which are those of the photographs of test_readme_ways.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("archsr.init.machine", lambda _memory: Machine(gpus=0, memory=2**34, bf16=False, cores=2))
    draw_photos(Path("photos"), projects=24, views=1, plans=1)
    said = init(Path("photos"), Path("archsr.toml"), shards="shards/photos").split("next:\n")[1]
    way = blocks(TEXTS["README.md"].split("## Your own photographs")[1], "sh")[0].replace("client_photos/", "PHOTOS")
    assert list(commands_of(said)) == list(commands_of(way))[2:]
    assert way.count("# preview/sheet.png: does this look like what you will enlarge?") == 1
    assert said.count("# preview/sheet.png: does this look like what you will enlarge?") == 1


def test_the_examples_of_layers_choose_layers():
    with torch.device("meta"):
        net = build(config_file.load(TrainConfig, ROOT / "configs" / "tail.toml").model)
    [block] = [b for b in blocks(TEXTS["configs/README.md"], "toml") if "layers =" in b]
    tables = config_file.read(ROOT / "configs" / "tail.toml")
    sizes = []
    for line in block.splitlines():
        tables["training"]["layers"] = tomli.loads(line)["layers"]
        config = config_file.check(TrainConfig, tables, where=line)
        sizes.append(sum(p.numel() for g in select(net, config.training.layers) for p in g.parameters.values()))
    assert sizes[0] < sizes[2] < sizes[-1] == 16_697_987


def test_every_environment_variable_is_explained():
    ours = re.compile(r"\bARCHSR_[A-Z_]+")
    files = [p for folder in ("archsr", "launch") for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".sbatch")]
    named = {name for path in files for name in ours.findall(path.read_text())}
    table = TEXTS["configs/README.md"].split("## Environment variables")[1]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == {*named, "GOMP_SPINCOUNT"}


def test_the_table_of_folders_has_all_of_them():
    table = TEXTS["CONTRIBUTING.md"].split("## Which folder does what")[1].split("\n\nWho may")[0]
    folders = {p.parent.name for p in (ROOT / "archsr").glob("*/*.py")}
    folders |= {f"data/{name}" for name in ("prepare", "stream")}
    named = set(re.findall(r"`([\w/]+)/`", table))
    assert {*folders, "archsr"} <= named


def test_the_table_of_configs_has_all_of_them():
    table = TEXTS["configs/README.md"].split("| file | trains |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+\.toml)`", table)) == {p.name for p in (ROOT / "configs").glob("*.toml")}


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_examples_that_parse(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out.split("example", 1)[1].partition(":\n")[2]
    for example in shown.splitlines():
        words = shlex.split(example.replace('eval "$(', "").replace(')"', ""), comments=True)
        if "train.py" in example:
            check_training(words)
        else:
            words = words[: words.index(">")] if ">" in words else words
            cli.parser().parse_args(words[words.index("archsr") + 1 :])
