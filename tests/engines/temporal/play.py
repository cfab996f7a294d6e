"""Eight jobs, two workers, and what goes wrong. Run by `run` beside this file."""
import asyncio
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

program, temporal = sys.argv[1:3]
here = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(here / "examples" / "temporal"))
JOBS = 8
CONFIG = """\
job: extension
config:
  name: dog-{number}
  process:
    - type: sd_trainer
      training_folder: /app/ai-toolkit/output
      train: {{steps: {steps}}}
      save: {{save_every: 20, max_step_saves_to_keep: 100}}
      sample: {{sample_every: 1000, prompts: [a dog]}}
"""
began = time.monotonic()
root = pathlib.Path(tempfile.mkdtemp(prefix="rcsync-temporal-"))
running = []


def say(text):
    print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(arguments, environment=None, out=None):
    """In a session of its own, so that it can be killed with all its children."""
    log = open(root / "log.txt", "a")
    process = subprocess.Popen([str(word) for word in arguments], env=environment, start_new_session=True, cwd=root,
                               stdout=out or log, stderr=log)
    running.append(process)
    return process


def kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


async def connect(address):
    from temporalio.client import Client
    for _ in range(300):
        try:
            return await Client.connect(address)
        except Exception:
            await asyncio.sleep(0.1)
    raise SystemExit("the server does not answer")


def published(folder):
    count = 0
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        expected, path = line.split("  ", 1)
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == expected, f"{folder / path} is not what was proven"
        count += 1
    return count


async def main():
    simulator = start([program, "simulate"], {"HOME": str(root)}, subprocess.PIPE)
    variables = {}
    while len(variables) < 2:
        found = re.match(r"export (\w+)=(\S+)", simulator.stdout.readline().decode())
        if found:
            variables[found[1]] = found[2]
    environment = {**variables, "HOME": str(root), "PATH": os.environ["PATH"], "RCSYNC": program, "PASSES_A_SECOND": "20",
                   "RCSYNC_INTERVAL": "2s"}
    jobs = []
    for number in range(JOBS):
        config = CONFIG.format(number=number, steps=40 + 10 * (number % 3))
        answer = subprocess.run([program, "submit", "-", "--gpu-type", "H100", "--output", "json"], input=config.encode(),
                                env=environment, capture_output=True, cwd=root)
        assert answer.returncode == 0, answer.stderr.decode()
        jobs.append(re.search(r'"job_id":"([^"]+)"', answer.stdout.decode())[1])
    say(f"{JOBS} jobs train")

    port = free_port()
    environment["TEMPORAL_ADDRESS"] = address = f"127.0.0.1:{port}"
    server = [temporal, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", port, "--db-filename",
              root / "temporal.db", "--log-level", "never"]
    engine = start(server, environment)
    client = await connect(address)
    say("the server answers")
    worker = [sys.executable, here / "examples" / "temporal" / "rcsync_worker.py"]
    first = start(worker, {**environment, "NAME": "first"})
    start(worker, {**environment, "NAME": "second"})

    from rcsync_worker import Mirror, QUEUE
    from temporalio.exceptions import WorkflowAlreadyStartedError
    to = root / "loras"
    handles = [await client.start_workflow(Mirror.run, args=[job, str(to / job)], id=job, task_queue=QUEUE) for job in jobs]
    try:
        await client.start_workflow(Mirror.run, args=[jobs[0], str(to / jobs[0])], id=jobs[0], task_queue=QUEUE)
        raise SystemExit("a job is followed twice")
    except WorkflowAlreadyStartedError:
        say("a second workflow of the same job is refused")
    await asyncio.sleep(4)
    kill(first)
    say("the first worker is killed with its children")
    await asyncio.sleep(3)
    kill(engine)
    await asyncio.sleep(1)
    start(server, environment)
    client = await connect(address)
    say("the server was killed and answers again")
    handles = [client.get_workflow_handle(job) for job in jobs]
    results = await asyncio.wait_for(asyncio.gather(*(handle.result() for handle in handles)), 90)
    files = 0
    for job, result in zip(jobs, results):
        assert (result["code"], result["status"]) == (0, "STOPPED"), result
        here_now = published(to / job)
        listed = subprocess.run([program, "result", job, "--output", "json"], env=environment, capture_output=True, cwd=root)
        listed = json.loads(listed.stdout)["artifacts"]
        # Each file once: no second version, nothing missing.
        assert here_now == len(listed), (job, here_now, len(listed))
        # What a killed pass published is counted by no workflow.
        assert result["published"] <= here_now, result
        files += here_now
    parts = list(to.glob("*/.rcsync/parts/*"))
    assert not parts, parts
    say(f"{JOBS} jobs over, {files} files proven, {sum(result['passes'] for result in results)} passes")


try:
    asyncio.run(main())
finally:
    for process in running:
        kill(process)
