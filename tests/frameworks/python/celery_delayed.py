"""Celery on quorum queues: its own delayed delivery (a tree of exchanges and queues in the broker). Twelve tasks wait for
their time; a plain task that comes after them is done within a second."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _broker import RUN, check, done

os.environ["CELERY_RUN"], os.environ["CELERY_QUORUM"] = RUN, "1"
HERE = Path(__file__).resolve().parent
import _celery_app as tasks  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    log = open(Path(folder) / "worker.log", "ab")
    command = [sys.executable, "-m", "celery", "-A", "_celery_app", "worker", "-P", "threads", "-c", "4", "--without-mingle",
               "-n", f"d-{RUN}@here", "-l", "warning"]
    process = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        check("a plain task", tasks.add.delay(1, 1).get(timeout=30), 2)
        begun = time.monotonic()
        waiting = [tasks.add.apply_async((n, 100), countdown=3 + n % 3) for n in range(12)]
        plain = time.monotonic()
        check("a plain task behind them", tasks.add.delay(2, 2).get(timeout=10), 4)
        took = time.monotonic() - plain
        check(f"it took {took:.2f} s, which is less than one second", took < 1)
        check("none of the twelve is done yet", [task.ready() for task in waiting], [False] * 12)
        check("the twelve", [task.get(timeout=20) for task in waiting], [n + 100 for n in range(12)])
        check("not before their time", time.monotonic() - begun >= 4.9)
        took = time.monotonic() - begun
        check(f"all took {took:.1f} s, which is not much later", took < 15)
    except BaseException:
        print((Path(folder) / "worker.log").read_text(errors="replace")[-3000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
with tasks.app.connection_for_write() as connection:
    connection.default_channel.queue_delete(f"celery-{RUN}")
done()
