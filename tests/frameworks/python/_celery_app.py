"""The application that the celery programs start workers of. CELERY_RUN is part of all its names; CELERY_QUORUM asks for
quorum queues, and with them for celery's own delayed delivery."""

import os

from celery import Celery
from kombu import Exchange, Queue

RUN, QUORUM = os.environ["CELERY_RUN"], os.environ.get("CELERY_QUORUM") == "1"
host = os.environ.get("CROSSDOCK_AMQP", "127.0.0.1:5672")
app = Celery(f"app-{RUN}", broker=f"amqp://guest:guest@{host}/%2F", backend="rpc://")
name = f"celery-{RUN}"
arguments = {"x-queue-type": "quorum"} if QUORUM else {"x-max-priority": 9}
kind = "topic" if QUORUM else "direct"
app.conf.update(
    task_default_queue=name,
    task_default_exchange=name,
    task_default_exchange_type=kind,
    task_default_routing_key=name,
    task_queues=[Queue(name, Exchange(name, kind), routing_key=name, queue_arguments=arguments)],
    worker_prefetch_multiplier=1,
    worker_detect_quorum_queues=True,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    result_expires=60,
    task_default_priority=None if QUORUM else 0,
    control_exchange=f"control-{RUN}",
    event_exchange=f"events-{RUN}",
)
seen = []


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def twice_in_vain(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def fails():
    raise ValueError("as it should")


@app.task
def note(word):
    seen.append(word)


@app.task
def noted():
    return list(seen)


@app.task
def nap(seconds):
    import time

    time.sleep(seconds)
    return "slept"


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def ends_its_worker_once(self, path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), 9)
    return "redelivered" if self.request.delivery_info["redelivered"] else "first"
