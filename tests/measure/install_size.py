"""How large an installation is: `python tests/measure/install_size.py [--project DIR] [EXTRA ...]`.

Installs archsr into a fresh environment, and each extra into one of its own that sees the first, so that it gets only
what the extra adds (or needs in another version). Prints a table in MB (10⁶ bytes on disk, with compiled files) and the
largest packages of each row. DIR is this project or another edition of it; without EXTRA, all of its extras are
installed.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import tomli

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    parser.add_argument("--project", type=Path, default=ROOT, metavar="DIR")
    args = parser.parse_args()
    known = tomli.loads((args.project / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    print("| installed | MB | packages | largest, MB |\n|---|---:|---:|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        base = environment(Path(folder) / "base")
        install(base, str(args.project))
        print(row("archsr", base), flush=True)
        for extra in args.extras or known:
            layer = environment(Path(folder) / extra, below=base)
            install(layer, f"{args.project}[{extra}]")
            print(row(f"archsr[{extra}]: more by", layer), flush=True)


def environment(folder: Path, *, below: Path | None = None) -> Path:
    """Make an empty environment, which sees the packages of `below`; return its folder of packages."""
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/*/site-packages"), folder / "Lib" / "site-packages")
    if below is not None:
        (packages / "below.pth").write_text(f"{below}\n")
    return packages


def install(packages: Path, *what: str) -> None:
    """Install with this Python's pip into an environment that has none of its own."""
    home = packages.parents[2] if packages.parents[1].name == "lib" else packages.parents[1]
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *what], check=True)


def row(title: str, packages: Path) -> str:
    """Return a row of the table."""
    sizes = {path.name: size_of(path) for path in packages.iterdir() if not path.name.startswith("archsr")}
    most = sorted(sizes, key=lambda name: -sizes[name])[:5]
    count = sum(name.endswith(".dist-info") for name in sizes)
    largest = ", ".join(f"{name} {sizes[name] / 1e6:,.0f}" for name in most if sizes[name] >= 1e6)
    return f"| {title} | {sum(sizes.values()) / 1e6:,.0f} | {count} | {largest} |"


def size_of(path: Path) -> int:
    """Return the bytes of a file or a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())


if __name__ == "__main__":
    main()
