"""A web server on loopback that serves a folder and drops, delays, truncates and corrupts as told."""

import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("drop", "truncate", "corrupt", "busy", "endless")
STATUS = {"busy": 503, "denied": 403, "gone": 404}


class Flaky(ThreadingHTTPServer):
    """`faults(name, number)` is the fault for request `number` (from 0) of a file, or None."""

    daemon_threads = True

    def __init__(self, folder, faults):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.faults = folder, faults
        self.requests, self.whole, self.injected = Counter(), Counter(), Counter()
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/data"

    def handle_error(self, request, client_address):
        pass  # clients disconnect early


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        name = self.path.removeprefix("/data/")
        path = self.server.folder / name
        with self.server.lock:
            fault = self.server.faults(name, self.server.requests[name])
            self.server.requests[name] += 1
            self.server.injected[fault] += fault is not None
        if not path.is_file() or fault in STATUS:
            self.send_error(STATUS.get(fault, 404))
        else:
            self._send(path.read_bytes(), fault, name)

    def _send(self, data, fault, name):
        size = len(data)
        if fault == "drop":
            data = data[: size // 2]
        if fault == "truncate":  # silently: the length matches what is sent
            data, size = data[: size // 2], size // 2
        if fault == "corrupt":
            data = bytearray(data)
            data[size // 2] ^= 0x10
        self.send_response(200)
        if fault == "endless":
            self.send_header("Connection", "close")
            data = data * 50
        else:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        half = len(data) // 2
        self.wfile.write(data[:half])
        if fault in ("slow", "silent"):
            self.wfile.flush()
            time.sleep(0.05 if fault == "slow" else 1.0)
        self.wfile.write(data[half:])
        self.wfile.flush()
        if fault is None or fault == "slow":
            with self.server.lock:
                self.server.whole[name] += 1
        self.close_connection = fault is not None


@contextmanager
def flaky(folder, faults=lambda name, number: None):
    """Yield a running server and stop it afterwards."""
    server = Flaky(folder, faults)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
