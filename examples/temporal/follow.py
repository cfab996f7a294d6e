"""Starts a workflow for each job: `python follow.py /mnt/loras JOB…`. One that is followed already is left alone."""
import asyncio
import os
import sys

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from rcsync_worker import QUEUE, Mirror


async def main(root: str, jobs: list[str]):
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "127.0.0.1:7233"))
    for job in jobs:
        await client.start_workflow(
            Mirror.run, args=[job, os.path.join(root, job)], id=job, task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE)
        print("following", job)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
