"""Visitors without a browser, who may send what no browser would."""

import json
import urllib.parse
import urllib.request
import uuid

import httpx

ANSWERS = {"model": ["small"], "rest": ["model's own", 1, "what memory allows", "original's"]}


def send(url, name, content):
    """Upload under any name; the server's path, or None where it was refused at the door."""
    boundary = uuid.uuid4().hex
    shown = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22").encode("utf-8", "replace")
    head = b'Content-Disposition: form-data; name="files"; filename="' + shown + b'"\r\n'
    kind = b"Content-Type: application/octet-stream\r\n\r\n"
    body = b"--" + boundary.encode() + b"\r\n" + head + kind + content + b"\r\n--" + boundary.encode() + b"--\r\n"
    answer = httpx.post(
        f"{url}/gradio_api/upload",
        content=body,
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        timeout=60,
    )
    return answer.json()[0] if answer.status_code == 200 else None


def order(url, path, name, model="small"):
    """Have it enlarged: ("complete" or "error", the answer)."""
    file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
    data = [[file], [model], *ANSWERS["rest"]]
    made = httpx.post(f"{url}/gradio_api/call/upscale", json={"data": data}, timeout=60)
    if made.status_code != 200:
        return "error", made.text
    with urllib.request.urlopen(f"{url}/gradio_api/call/upscale/{made.json()['event_id']}", timeout=600) as lines:
        kind = ""
        for line in lines:
            text = line.decode().strip()
            if text.startswith("event:"):
                kind = text.removeprefix("event:").strip()
            elif text.startswith("data:") and kind in ("complete", "error"):
                return kind, json.loads(text.removeprefix("data:").strip() or "null")
    return "nothing", None


def download(url, answer):
    """Name and bytes of the first result."""
    first = answer[0]["value"][0]
    link = f"{url}/gradio_api/file=" + urllib.parse.quote(first["path"])
    return first["orig_name"], httpx.get(link, timeout=60).content
