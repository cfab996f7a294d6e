"""One workflow for each training job, one activity for each pass of rcsync.

The workflow's id is the job's id, so a job that is followed cannot be started twice. Everything that matters is in the
destination: a pass that is lost with its worker, or repeated, continues what is there. See README.md beside this file.
"""
import asyncio
import json
import os
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

QUEUE = "rcsync"
FOR_A_PERSON = (64, 65, 66, 73, 77, 78)  # trying again changes nothing


@activity.defn
async def one_pass(job: str, to: str) -> dict:
    program = os.environ.get("RCSYNC", "rcsync")
    process = await asyncio.create_subprocess_exec(
        program, "sync", job, to, "--once", "--output", "json", stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    done, published = {}, 0

    async def beat():
        while True:
            activity.heartbeat(published)
            await asyncio.sleep(1)

    beating = asyncio.create_task(beat())
    try:
        async for line in process.stdout:
            event = json.loads(line)
            published += event["event"] == "published"
            done = event if event["event"] == "done" else done
        code = await process.wait()
    except asyncio.CancelledError:  # SIGTERM: parts are kept
        process.terminate()
        await process.wait()
        raise
    finally:
        beating.cancel()
    if not done:  # no look at the job at all
        raise ApplicationError(f"rcsync ended with {code}", non_retryable=code in FOR_A_PERSON)
    return {"code": code, "over": done["over"], "next": done["next_look_seconds"], "status": done["job_status"],
            "published": published, "worker": os.environ.get("NAME", "")}


@workflow.defn
class Mirror:
    @workflow.run
    async def run(self, job: str, to: str, passes: int = 0, published: int = 0) -> dict:
        while True:
            seen = await workflow.execute_activity(
                one_pass, args=[job, to], start_to_close_timeout=timedelta(hours=6), heartbeat_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(initial_interval=timedelta(seconds=2), maximum_interval=timedelta(minutes=10)))
            passes, published = passes + 1, published + seen["published"]
            if seen["over"]:
                return {"job": job, "status": seen["status"], "code": seen["code"], "passes": passes, "published": published}
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(args=[job, to, passes, published])
            await workflow.sleep(seen["next"])


async def main():
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "127.0.0.1:7233"))
    await Worker(client, task_queue=QUEUE, workflows=[Mirror], activities=[one_pass], max_concurrent_activities=8,
                 # Over all workers: a pass asks the API twice.
                 max_task_queue_activities_per_second=float(os.environ.get("PASSES_A_SECOND", "2"))).run()


if __name__ == "__main__":
    asyncio.run(main())
