"""STOMP transactions: SENDs and ACKs that take effect together, or not at all."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from hub import Stomp, delete_queues, done, unique

accounts, audit = unique("accounts"), unique("audit")
reader = Stomp()
reader.subscribe(f"/queue/{accounts}", "1")
bank = Stomp()

bank.connection.begin("t1")
bank.connection.send(f"/queue/{accounts}", "debit 10", transaction="t1")
bank.connection.send(f"/queue/{accounts}", "credit 10", transaction="t1")
bank.send(f"/queue/{accounts}", "outside of the transaction")
assert reader.inbox.next().body == "outside of the transaction", "what is not committed is not seen"
bank.confirmed(bank.connection.commit, "t1")
assert [frame.body for frame in reader.inbox.take(2)] == ["debit 10", "credit 10"]

bank.connection.begin("t2")
bank.connection.send(f"/queue/{accounts}", "never happened", transaction="t2")
bank.confirmed(bank.connection.abort, "t2")
reader.inbox.none_for(0.2)
reader.close()

# One transaction acknowledges a message and sends its result.
bank.send(f"/queue/{accounts}", "job")
worker = Stomp()
worker.subscribe(f"/queue/{accounts}", "1", ack="client-individual")
job = worker.inbox.next()
worker.connection.begin("t3")
worker.connection.ack(job.headers["ack"], transaction="t3")
worker.connection.send(f"/queue/{audit}", "job done", transaction="t3")
worker.confirmed(worker.connection.commit, "t3")
worker.close()

checker = Stomp()
checker.subscribe(f"/queue/{audit}", "1")
assert checker.inbox.next().body == "job done"
checker.subscribe(f"/queue/{accounts}", "2")
checker.inbox.none_for(0.2)
checker.close()
bank.close()
delete_queues(accounts, audit)

done("one transaction committed, one aborted, and an ACK together with a SEND")
