//! ACK and NACK, alone or in a transaction, and the transactions themselves. A transaction's frames are kept until
//! COMMIT and then played into the lane between `begin` and `commit`: several may be open at once, the lane has one.

use super::Connection;
use super::receive::Answer;
use super::subscriptions::Token;
use super::transactions::Operation;
use crate::codec::{Headers, Version};
use crate::mapping::titles::{BAD_COMMAND, titled};
use crate::mapping::{invalid, required, truth};
use crate::options::NackDefault;
use crossdock_core::{Error, ErrorKind, Outcome, Publish};

impl Connection<'_> {
    pub(super) async fn ack(&mut self, headers: &Headers) -> Result<Answer, Error> {
        self.settle(headers, Outcome::Accepted).await
    }

    /// docs/SEMANTICS.md §2, consumer outcome.
    pub(super) async fn nack(&mut self, headers: &Headers) -> Result<Answer, Error> {
        if self.client.version == Version::V10 {
            return Err(titled(BAD_COMMAND, "STOMP 1.0 has no NACK"));
        }
        let requeue = match headers.find("requeue") {
            Some(header) => truth(header),
            None => self.client.door.nack_default == NackDefault::Requeue,
        };
        let outcome = if requeue { Outcome::GivenBack } else { Outcome::Rejected { reason: None } };
        self.settle(headers, outcome).await
    }

    async fn settle(&mut self, headers: &Headers, outcome: Outcome) -> Result<Answer, Error> {
        let token = self.token(headers)?;
        match headers.get("transaction") {
            Some(name) => {
                self.add(&name, Operation::Settle(token, outcome))?;
                Ok(Answer::Done)
            }
            None => {
                self.settle_some(token, &outcome);
                if self.subscriptions.has_more(token) {
                    // Boxed: rare, and a large future.
                    Box::pin(self.settle_rest(token, &outcome)).await;
                }
                Ok(Answer::Stored)
            }
        }
    }

    /// What is meant: `id` since 1.2, before it `message-id`, which 1.1 wants the subscription with.
    fn token(&mut self, headers: &Headers) -> Result<Token, Error> {
        let text = match self.client.version {
            Version::V12 => required(headers, "id")?,
            Version::V10 | Version::V11 => required(headers, "message-id")?,
        };
        let token = self.subscriptions.token(&text).ok_or_else(|| {
            let detail = format!("no message '{text}' was delivered here");
            Error::new(ErrorKind::NotFound, detail)
        })?;
        if self.client.version == Version::V11 {
            let id = required(headers, "subscription")?;
            let consumer = self.subscriptions.consumer(&id);
            let is_of_another =
                consumer.is_some_and(|consumer| consumer != token.consumer && !token.is_settled());
            // A subscription that ended may have had the id before.
            if is_of_another && self.subscriptions.id_of(token) != Some(&*id) {
                return Err(invalid(format!("message '{text}' is not of subscription '{id}'")));
            }
        }
        Ok(token)
    }

    /// One slice of what is meant.
    fn settle_some(&mut self, token: Token, outcome: &Outcome) {
        let offsets = self.subscriptions.settle(token);
        if !offsets.is_empty() {
            self.session.settle(self.lane, token.consumer, &offsets, outcome.clone());
        }
    }

    /// The others, slice by slice. Frames behind this one wait.
    async fn settle_rest(&mut self, token: Token, outcome: &Outcome) {
        while self.subscriptions.has_more(token) {
            self.session.flush();
            self.line.pause().await;
            self.settle_some(token, outcome);
        }
        self.count_kept();
    }

    /// Keeps a frame for the commit of its transaction.
    pub(super) fn add(&mut self, name: &str, step: Operation) -> Result<(), Error> {
        let (operations, bytes) = self.transactions.with(&step);
        self.session.may_keep_open(operations, bytes)?;
        self.session.may_keep(step.memory())?;
        self.transactions.add(name, step)?;
        self.count_kept();
        Ok(())
    }

    /// Counts what the connection keeps now: open transactions, subscriptions, names of temporary queues.
    pub(super) fn count_kept(&mut self) {
        let subscriptions = self.subscriptions.memory();
        let bytes = subscriptions + self.transactions.memory() + self.targets.memory();
        if bytes != self.kept.bytes() {
            self.kept.set(bytes);
        }
    }

    pub(super) fn begin(&mut self, headers: &Headers) -> Result<Answer, Error> {
        let name = required(headers, "transaction")?;
        let (operations, bytes) = self.transactions.with_begun(&name);
        self.session.may_keep_open(operations, bytes)?;
        self.session.may_keep(name.len())?;
        self.transactions.begin(&name)?;
        self.count_kept();
        Ok(Answer::Done)
    }

    pub(super) fn abort(&mut self, headers: &Headers) -> Result<Answer, Error> {
        // Messages acknowledged in it stay unsettled: they were noted nowhere else.
        self.transactions.end(&required(headers, "transaction")?)?;
        self.count_kept();
        Ok(Answer::Done)
    }

    /// False while the disk is nearly full and the transaction has something to send.
    pub(super) fn may_commit(&mut self, headers: &Headers) -> bool {
        let publishes = headers.get("transaction").is_some_and(|t| self.transactions.publishes(&t));
        !publishes || self.session.has_disk_space()
    }

    /// `receipt`: one was asked for. It waits for the confirms, too: a queue can refuse a message.
    pub(super) async fn commit(
        &mut self,
        headers: &Headers,
        receipt: bool,
    ) -> Result<Answer, Error> {
        let operations = self.transactions.end(&required(headers, "transaction")?)?;
        self.count_kept();
        // Publishes from before the commit go first.
        self.session.flush();
        self.session.begin(self.lane);
        let mut count = 0;
        for operation in operations {
            match operation {
                Operation::Publish(publish) => {
                    let publish = Publish { confirm: receipt, ..publish };
                    self.session.publish(self.lane, publish);
                    count += 1;
                }
                Operation::Settle(token, outcome) => {
                    self.settle_some(token, &outcome);
                    while self.subscriptions.has_more(token) {
                        self.line.pause().await;
                        self.settle_some(token, &outcome);
                    }
                }
            }
        }
        self.line.while_waiting(self.session.commit(self.lane)).await?;
        Ok(match count {
            0 => Answer::Done,
            count => Answer::Confirms { count, soft: false, expired: false },
        })
    }
}
