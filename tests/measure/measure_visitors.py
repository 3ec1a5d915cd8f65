"""Twenty visitors at once, three times over, then a hundred hostile uploads: who is served, memory, what is left.

python tests/measure/measure_visitors.py [MODEL]   (default: a network of random weights that needs milliseconds)
"""

import io
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import beside  # noqa: F401
import numpy as np
from hostile import uploads
from PIL import Image
from serving import serving, small_network
from visit import order, send


def photograph(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def visit(server, number, model):
    begun = time.perf_counter()
    path = send(server.url, f"{number}.png", photograph(number))
    return order(server.url, path, f"{number}.png", model)[0], time.perf_counter() - begun


def crowd(server, model, count=20):
    with ThreadPoolExecutor(count) as visitors:
        answers = list(visitors.map(lambda n: visit(server, n, model), range(count)))
    served, times = sum(kind == "complete" for kind, _ in answers), sorted(t for _, t in answers)
    print(f"{served} of {count} served, first after {times[0]:.1f} s, last after {times[-1]:.1f} s; {memory(server)}")


def hostile(server, model):
    results, before = [], server.files()
    for name, content in uploads():
        path = send(server.url, name, content)
        kind = "door" if path is None else order(server.url, path, name, model)[0]
        results.append((kind, path))
    kinds = [kind for kind, _ in results]
    stay = sum(kind == "error" and Path(path).exists() for kind, path in results)
    counts = {kind: kinds.count(kind) for kind in ("complete", "error", "door")}
    new = len(server.files() - before)
    print(f"{len(kinds)} hostile uploads: {counts}; {stay} refused ones stay, {new} files of others; {memory(server)}")


def memory(server):
    return f"{server.memory() / 2**20:.0f} MiB"


def main():
    folder = Path(tempfile.mkdtemp())
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else small_network(folder / "small.safetensors")
    model = source.name.removesuffix(".safetensors").removesuffix(".fp16")
    with serving(folder / "server", source) as server:
        print(f"begun: {memory(server)}")
        for _ in range(3):
            crowd(server, model)
        hostile(server, model)
        crowd(server, model)
    print(f"ended: {len(server.files())} files left")


if __name__ == "__main__":
    main()
