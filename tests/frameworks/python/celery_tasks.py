"""Celery on classic queues: results, retries, countdown, chains, groups, chords' parts, priorities, acks_late, inspect."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _broker import RUN, check, done, until

os.environ["CELERY_RUN"] = RUN
HERE = Path(__file__).resolve().parent
import _celery_app as tasks  # noqa: E402
from celery import chain, group  # noqa: E402

app = tasks.app


def worker():
    command = [sys.executable, "-m", "celery", "-A", "_celery_app", "worker", "-P", "solo", "-c", "1", "--without-mingle",
               "-n", f"w-{RUN}@here", "-l", "warning"]
    log = open(folder / "worker.log", "ab")
    return subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    process = worker()
    try:
        check("a result", tasks.add.delay(2, 3).get(timeout=25), 5)
        check("retries", tasks.twice_in_vain.delay().get(timeout=15), 2)
        begun = time.monotonic()
        check("a countdown", tasks.add.apply_async((1, 1), countdown=0.7).get(timeout=15), 2)
        check("a countdown is kept", time.monotonic() - begun >= 0.6)
        check("a chain", chain(tasks.add.s(1, 2), tasks.add.s(10), tasks.add.s(100)).delay().get(timeout=15), 113)
        check("a group", group(tasks.add.s(n, n) for n in range(5)).delay().get(timeout=15), [0, 2, 4, 6, 8])
        try:
            tasks.fails.delay().get(timeout=15)
            check("errors come back", False)
        except ValueError as error:
            check("errors come back", str(error), "as it should")
        # While the worker sleeps, tasks wait; the urgent one is first.
        tasks.nap.delay(0.6)
        time.sleep(0.2)
        for word, priority in (("low", 0), ("high", 9), ("middle", 5)):
            tasks.note.apply_async((word,), priority=priority)
        order = tasks.noted.apply_async(priority=0).get(timeout=15)
        # The worker had taken one of them already.
        check("priorities", order in (["high", "middle", "low"], ["low", "high", "middle"]), True)
        expired = tasks.add.apply_async((1, 1), expires=0.01, countdown=0.3)
        revoked = expired.get(timeout=15, propagate=False)
        check("what waits too long is revoked", type(revoked).__name__, "TaskRevokedError")

        inspect = app.control.inspect(destination=[f"w-{RUN}@here"], timeout=3)
        until("ping", lambda: inspect.ping() == {f"w-{RUN}@here": {"ok": "pong"}})
        queues = inspect.active_queues()
        check("active queues", [queue["name"] for queue in queues[f"w-{RUN}@here"]], [f"celery-{RUN}"])
        check("registered", "_celery_app.add" in inspect.registered()[f"w-{RUN}@here"])
        check("stats", inspect.stats()[f"w-{RUN}@here"]["pool"]["implementation"].startswith("celery.concurrency.solo"))

        # A worker that is killed while it has a task: another one gets it.
        late = tasks.ends_its_worker_once.delay(str(folder / "marker"))
        process.wait(15)
        process = worker()
        check("acks_late", late.get(timeout=25), "redelivered")
        app.control.shutdown()
        process.wait(15)
        check("remote shutdown", process.returncode, 0)
    except BaseException:
        print((folder / "worker.log").read_text(errors="replace")[-3000:])
        raise
    finally:
        if process.poll() is None:
            process.kill()
with app.connection_for_write() as connection:
    connection.default_channel.queue_delete(f"celery-{RUN}")
done()
