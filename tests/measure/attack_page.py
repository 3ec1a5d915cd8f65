"""Attacks on `archsr app` while twenty visitors enlarge photographs: which are closed, who is served, and memory.

python tests/measure/attack_page.py [MODEL]   (default: a network of random weights that needs milliseconds)

The page is on loopback, with a password; visitors and attackers come from addresses of their own (127.x.x.x). Ends with
1 where anything is open or a visitor was not served. Takes about five minutes: slow bodies are waited for.
"""

import asyncio
import io
import json
import re
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import beside  # noqa: F401
import gradio as gr
import httpx
import numpy as np
import psutil
from gradio.routes import App
from PIL import Image
from serving import serving, small_network

PASSWORD = "a password that nobody guesses"
LOGIN_PAGE = ("/", "/login", "/login/", "/assets/", "/static/", "/svelte/", "/favicon.ico", "/theme.css")
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
EVIL = "evil.example"
DOORS = ("/", "/config", "/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/call/upscale")


@dataclass(frozen=True)
class Outcome:
    """What became of an attack."""

    attack: str
    happened: str
    closed: bool


def client(url, address):
    """A program that comes from an address of its own."""
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=httpx.Limits(max_connections=50))
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=180)


@asynccontextmanager
async def logged_in(url, address):
    async with client(url, address) as made:
        answer = await made.post("/login", data={"username": "visitor", "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        yield made


# ---------------------------------------------------------------- the visitors


def photograph(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def visits(url, number, model, over):
    """One visitor enlarges one photograph after another until the attacks are over: how many came back, and faults."""
    served, faults = 0, []
    async with logged_in(url, f"127.0.1.{number + 1}") as visitor:
        while not over.is_set():
            try:
                await enlarged(visitor, f"{number}.png", photograph(number), model)
                served += 1
            except (httpx.HTTPError, ValueError) as error:
                faults.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(1)
    return served, faults


async def enlarged(visitor, name, content, model):
    """Send, order, and fetch the result, which must be four times as large."""
    sent = await visitor.post("/gradio_api/upload", files={"files": (name, content)})
    file = {"path": sent.raise_for_status().json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    words = await ask(visitor, [[file], [model], "model's own", 1, "what memory allows", "original's"])
    if "event: complete" not in words:
        raise ValueError(words[-300:])
    data = json.loads(words.rpartition("data: ")[2])
    files = data[0]["value"] if isinstance(data[0], dict) else data[0]
    result = (await visitor.get(f"/gradio_api/file={files[0]['path']}")).raise_for_status()
    if Image.open(io.BytesIO(result.content)).size != (512, 384):
        raise ValueError(f"{name}: not enlarged four times")


async def ask(visitor, data):
    """What the interface answers to an order, as lines of events."""
    made = (await visitor.post("/gradio_api/call/upscale", json={"data": data})).raise_for_status()
    return (await visitor.get(f"/gradio_api/call/upscale/{made.json()['event_id']}")).text


# ---------------------------------------------------------------- the attacks


async def statuses(made, method, headers, doors=DOORS):
    return sorted({(await made.request(method, door, headers=headers)).status_code for door in doors})


async def wrong_host(server):
    async with client(server.url, "127.0.2.1") as made:
        found = [await statuses(made, m, {"Host": EVIL}) for m in ("GET", "POST")]
    return Outcome("another name in Host", f"answers {found[0]} and {found[1]}", found == [[421], [421]])


async def foreign_origin(server):
    async with logged_in(server.url, "127.0.2.2") as made:
        found = [await statuses(made, "POST", {"Origin": o}) for o in (f"http://{EVIL}", "null")]
        found.append(await statuses(made, "POST", {"Sec-Fetch-Site": "cross-site"}))
    return Outcome("another page sends with a visitor's cookie", f"answers {found}", found == [[403]] * 3)


async def preflight(server):
    async with client(server.url, "127.0.2.3") as made:
        named = await statuses(made, "OPTIONS", PREFLIGHT | {"Host": EVIL, "Origin": f"http://{EVIL}"})
        sent = await statuses(made, "OPTIONS", PREFLIGHT | {"Origin": f"http://{EVIL}"})
    return Outcome("a preflight for another page", f"answers {named} and {sent}", (named, sent) == ([421], [403]))


async def guessing(server):
    async with client(server.url, "127.0.2.4") as made:
        form = [{"username": "a", "password": f"guess {n}"} for n in range(100)]
        said = [(await made.post("/login", data=data)).status_code for data in form]
    looked_at, waits = said.count(400), said.count(429)
    closed = looked_at <= 10 and looked_at + waits == 100
    return Outcome("100 passwords one after another", f"{looked_at} looked at, {waits} told to wait", closed)


async def without_login(server):
    """Every route of gradio's, and what the page has of its own, by every method."""
    routes = {(m, route.path) for route in routes_of(App.create_app(gr.Blocks())) for m in route.methods | {"OPTIONS"}}
    routes |= {
        (m, f"/gradio_api/call/{name}") for name in ("upscale", "restore", "card", "run") for m in ("GET", "POST")
    }
    open_to_all = []
    async with client(server.url, "127.0.2.5") as made:
        for method, path in sorted(routes):
            answer = await made.request(method, re.sub(r"{[^}]*}", "x", path))
            if answer.status_code != 401 and not is_login(path):
                open_to_all.append(f"{method} {path}: {answer.status_code}")
    happened = f"{len(routes)} asked, open but for the login: {', '.join(open_to_all) or 'none'}"
    return Outcome("every route without login", happened, not open_to_all)


def is_login(path):
    return path in LOGIN_PAGE or path.startswith(("/assets/", "/static/", "/svelte/"))


def routes_of(router):
    for route in router.routes:
        inner = getattr(route, "original_router", None)  # how FastAPI keeps a router that was included
        yield from routes_of(inner) if inner else [route]


async def forged(server):
    before = len(server.process.stderr)
    async with logged_in(server.url, "127.0.2.6") as made:
        path = {"path": "/" + "x" * 900_000, "meta": {"_type": "gradio.FileData"}}
        for data in ([[path], ["small"]], [[], ["y" * 900_000]], [[], ["small"], "z" * 900_000]):
            whole = [*data, *["model's own", 1, "128", "PNG"][len(data) - 2 :]]
            answer = await made.post("/gradio_api/call/upscale", json={"data": whole})
            if answer.status_code == 200:
                await made.get(f"/gradio_api/call/upscale/{answer.json()['event_id']}")
    grown = len(server.process.stderr) - before
    return Outcome("three forged requests of 900 kB", f"{grown / 1000:.0f} kB in the log", grown < 60_000)


async def slow_uploads(server, count=500):
    """With a password that is known, each a body of which nothing more comes: how long the last is waited for."""
    async with logged_in(server.url, "127.0.2.7") as made:
        cookies = "; ".join(f"{name}={value}" for name, value in made.cookies.items())
    head = head_of("/gradio_api/upload", f"Cookie: {cookies}", "Content-Type: multipart/form-data; boundary=x",
                   "Content-Length: 9000000")  # fmt: skip
    return await held("slow uploads", server, count, head + b"--x\r\n", seconds=75)


async def idle_lines(server, count=1000):
    return await held("lines on which nothing is said", server, count, b"", seconds=75)


async def half_heads(server, count=1000):
    return await held("half a head", server, count, b"GET / HTTP/1.1\r\nHost: loc", seconds=75)


async def half_bodies(server, count=1000):
    head = head_of("/login", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 900")
    return await held("half a body", server, count, head + b"username=a", seconds=75)


def head_of(path, *lines):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


async def held(name, server, count, data, *, seconds):
    """Open `count` lines from four addresses, say `data` on each, and see how many the server holds, and for how long.

    Lines that the server has not yet taken are the system's, not its own: it is given ten seconds to take all.
    """
    port = int(server.url.rsplit(":", 1)[1])
    lines = [await connected(port, f"127.0.3.{1 + n % 4}", data) for n in range(count)]
    lines = [line for line in lines if line is not None]
    await asyncio.sleep(10)
    async with client(server.url, "127.0.2.8") as other:
        another = (await other.get("/")).status_code
    holds, end = held_by(server), time.monotonic() + seconds
    while still_open(lines) and time.monotonic() < end:
        await asyncio.sleep(1)
    left = still_open(lines)
    for _, writer, reading in lines:
        reading.cancel()
        writer.close()
    happened = (
        f"{holds} lines at once with the visitors', {left} of these after {seconds} s; another visitor: {another}"
    )
    return Outcome(f"{count}: {name}", happened, holds <= 256 and left == 0 and another == 200)


def held_by(server):
    """Connections that the server's process has, with the system's word for it."""
    return sum(
        c.status == psutil.CONN_ESTABLISHED for c in psutil.Process(server.process.pids[0]).net_connections("tcp")
    )


async def connected(port, address, data):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        writer.write(data)
        return reader, writer, asyncio.create_task(reading_on(reader))
    except OSError:
        return None


async def reading_on(reader):
    """Until the server closes the line."""
    try:
        while await reader.read(2**16):
            pass
    except OSError:
        pass


def still_open(lines):
    return sum(not reading.done() for _, _, reading in lines)


ATTACKS = (wrong_host, foreign_origin, preflight, guessing, without_login, forged, slow_uploads, idle_lines, half_heads,
           half_bodies)  # fmt: skip


# ---------------------------------------------------------------- all together


async def attacked(server, model, count=20):
    """The outcomes, and of each visitor how often he was served and what went wrong."""
    over = asyncio.Event()
    visitors = [asyncio.create_task(visits(server.url, number, model, over)) for number in range(count)]
    try:
        outcomes = [await attack(server) for attack in ATTACKS]
    finally:
        over.set()
    return outcomes, await asyncio.gather(*visitors)


def main():
    folder = Path(tempfile.mkdtemp())
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else small_network(folder / "small.safetensors")
    model = source.name.removesuffix(".safetensors").removesuffix(".fp16")
    with serving(folder / "server", source, ARCHSR_PASSWORD=PASSWORD) as server:
        before = server.memory()
        outcomes, visitors = asyncio.run(attacked(server, model))
        after = server.memory()
    width = max(len(outcome.attack) for outcome in outcomes)
    for outcome in outcomes:
        print(f"{outcome.attack:{width}}  {'closed' if outcome.closed else 'OPEN  '}  {outcome.happened}")
    served, faults = [n for n, _ in visitors], [fault for _, faults in visitors for fault in faults]
    print(f"\n{sum(map(bool, served))} of {len(served)} visitors served meanwhile: {sum(served)} photographs, "
          f"{len(faults)} refused or lost")  # fmt: skip
    print(f"memory: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
    for fault in sorted(set(faults))[:5]:
        print(f"  {fault}")
    if faults or not all(served) or not all(outcome.closed for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
