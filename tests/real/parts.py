"""What several scripts of this folder use."""

import http.server
import json
import os
import pathlib
import re
import textwrap
import threading


def trainer(files, name="my_lora"):
    """A Trainer API and an artifact host on loopback with one job that is over."""

    job_name = name

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def send(self, code, body, headers=()):
            self.send_response(code)
            for key, value in headers:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            path = self.path.split("?")[0]
            job = {"id": "j1", "name": name, "status": "STOPPED"}
            if path.endswith("/status"):
                progress = {"current_step": 500, "total_steps": 500, "percent": 100.0}
                return self.send(200, json.dumps({**job, "progress": progress}).encode())
            if path.endswith("/result"):
                listed = {"checkpoints": [], "samples": []}
                for file in files:
                    entry = {"path": f"{base}/output/{job_name}/{file}"}
                    listed["samples" if file.startswith("samples/") else "checkpoints"].append(entry)
                return self.send(200, json.dumps({**job, "artifacts": listed}).encode())
            data = files.get(path.removeprefix(f"/output/{job_name}/"))
            if data is None:
                return self.send(404, b"")
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if not span:
                return self.send(200, data)
            start, end = int(span[1]), int(span[2] or len(data) - 1)
            part = data[start : end + 1]
            content_range = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
            return self.send(206, part, [("Content-Range", content_range)])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    base = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return base


def latest_save(out, job_name):
    """What AI Toolkit resumes from: its own function, taken out of its source, since the rest of it needs a GPU."""
    source = pathlib.Path(os.environ["AITOOLKIT"]) / "jobs/process/BaseSDTrainProcess.py"
    lines = source.read_text().splitlines()
    start = next(at for at, line in enumerate(lines) if "def get_latest_save_path" in line)
    end = next(at for at in range(start + 1, len(lines)) if lines[at].startswith("    def "))
    scope = {}
    exec("import glob, os\n" + textwrap.dedent("\n".join(lines[start:end])), scope)

    class Process:
        network_config = None
        save_root = str(out)

        class job:
            name = job_name

    return scope["get_latest_save_path"](Process())
