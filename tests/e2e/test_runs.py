"""Kill every process in the middle of a run: `resume` finishes it, and every count is exact."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import killed_run
from pipeline.runs.model import Progress

IMAGES = 60
# Fifteen executions of at most four images, each of two seconds, in two sessions: half of them leave time to kill all.
SMALL = {"PIPELINE_RUN_BATCH_SIZE": "8", "PIPELINE_MICROBATCH_MAX_JOBS": "4"}
SLOW = "latency:seconds=2,on=executions"


@pytest.mark.timeout(400)
async def test_resume_finishes_a_run_after_all_processes_died() -> None:
    lines: list[str] = []
    async with killed_run.scene(2, lines.append) as stage:
        stage.environ.update(SMALL)
        found = await killed_run.kill_halfway(stage, IMAGES, 2, SLOW)
        assert found["planned"] == IMAGES
        assert found["before"].progress.left > 0, "the processes were killed in the middle"
        assert (found["run"].state, found["run"].progress) == ("done", Progress(done=IMAGES))
        assert Counter(entry.state for entry in found["entries"]) == {"done": IMAGES}
        committed = sorted(one["path"] for entry in found["entries"] for one in entry.renditions)
        assert sorted(found["outputs"]) == committed, "the ledger lists every rendition"
        assert len(set(committed)) == killed_run.RENDITIONS * IMAGES
        assert (await killed_run.plan_again(stage)).jobs == 0
        stage.recipe(150)
        plan = await killed_run.plan_again(stage)
        assert (plan.jobs, plan.reasons) == (IMAGES, {"recipe_changed": IMAGES})
