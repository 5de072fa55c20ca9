//! What may become of an answer that was published to a reply address: it comes once, to the channel that asked, behind
//! the answers of the same responder before it; or it is returned, because that channel is gone. Nothing else.

use crate::crash::ledger::Key;
use std::collections::{BTreeMap, HashMap};

/// A channel while it is open: the life of the broker, the channel's number, and how often it was opened before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker {
    pub life: u32,
    pub channel: u16,
    pub opened: u32,
}

#[derive(Debug)]
struct Answer {
    to: Asker,
    /// The asker was open when the answer was published.
    reachable: bool,
    confirmed: bool,
    came: bool,
    /// A later answer of the same responder came to the same asker.
    passed: bool,
}

/// The answers of one life.
#[derive(Default)]
pub struct Answers {
    life: u32,
    /// How often each channel was opened before it was opened last, if it is open.
    open: HashMap<u16, u32>,
    all: BTreeMap<Key, Answer>,
    /// Who stands behind each reply address.
    addresses: HashMap<String, Asker>,
}

impl Answers {
    /// All askers of the life before are gone, and so are the answers to them.
    pub fn begin(&mut self, life: u32) {
        self.life = life;
        self.open.clear();
        self.all.clear();
    }

    pub fn open(&mut self, channel: u16, opened: u32) -> Asker {
        self.open.insert(channel, opened);
        Asker { life: self.life, channel, opened }
    }

    /// The broker has answered that the channel is closed.
    pub fn close(&mut self, channel: u16) {
        self.open.remove(&channel);
    }

    fn is_open(&self, asker: Asker) -> bool {
        asker.life == self.life && self.open.get(&asker.channel) == Some(&asker.opened)
    }

    /// A request of that asker was read, with that reply address: what is wrong about it, if anything.
    pub fn asked(&mut self, asker: Asker, address: Option<&str>) -> Option<String> {
        let Some(address) = address.filter(|address| address.starts_with("amq.rabbitmq.reply-to."))
        else {
            return Some(format!("a request of {asker:?} names {address:?} for its answer"));
        };
        let known = *self.addresses.entry(address.to_owned()).or_insert(asker);
        (known != asker).then(|| format!("{address} is of {known:?} and of {asker:?}"))
    }

    /// Before the first byte of the answer is sent.
    pub fn published(&mut self, key: Key, to: Asker) {
        let reachable = self.is_open(to);
        self.all
            .insert(key, Answer { to, reachable, confirmed: false, came: false, passed: false });
    }

    /// The answer is confirmed and was not returned.
    pub fn confirmed(&mut self, key: Key) -> Option<String> {
        let answer = self.all.get_mut(&key)?;
        answer.confirmed = true;
        if !answer.reachable {
            return Some(format!("taken, although {:?} was gone", answer.to));
        }
        let lost = answer.passed && !answer.came;
        lost.then(|| format!("lost: a later answer came to {:?}", answer.to))
    }

    /// The answer came back without a route.
    pub fn returned(&mut self, key: Key) -> Option<String> {
        let answer = self.all.remove(&key)?;
        if answer.came {
            return Some("delivered, and returned".to_owned());
        }
        self.is_open(answer.to).then(|| format!("returned, although {:?} is there", answer.to))
    }

    /// The answer came to an open channel.
    pub fn came(&mut self, key: Key, channel: u16) -> Option<String> {
        let Some(to) = self.all.get(&key).map(|answer| answer.to) else {
            return Some("came, although its requester is gone".to_owned());
        };
        if channel != to.channel || !self.is_open(to) {
            return Some(format!("came to channel {channel} instead of {to:?}"));
        }
        let mut lost = None;
        let before = self.all.range_mut(Key { number: 0, ..key }..=key);
        for (other, answer) in before.filter(|(_, answer)| answer.to == to && !answer.came) {
            (answer.came, answer.passed) = (*other == key, *other != key);
            if answer.passed && answer.confirmed {
                lost = Some(format!("answer {} was lost before it", other.number));
            }
        }
        lost
    }

    /// Answers to open channels that were confirmed and did not come.
    pub fn missing(&self) -> Vec<Key> {
        let missing = |answer: &Answer| answer.confirmed && !answer.came && self.is_open(answer.to);
        self.all.iter().filter(|(_, answer)| missing(answer)).map(|(key, _)| *key).collect()
    }

    /// Answers of which nothing more is to be heard, so that memory does not grow in a long life.
    pub fn forget(&mut self) {
        let (open, life) = (&self.open, self.life);
        self.all.retain(|_, answer| {
            let is_open =
                answer.to.life == life && open.get(&answer.to.channel) == Some(&answer.to.opened);
            !answer.confirmed || is_open && !answer.came
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key { stream: 0, number }
    }

    /// A life with one channel that asked, and this many answers to it.
    fn answers(count: u32) -> (Answers, Asker) {
        let mut answers = Answers::default();
        answers.begin(3);
        let asker = answers.open(1, 0);
        (0..count).for_each(|number| answers.published(key(number), asker));
        (answers, asker)
    }

    #[track_caller]
    fn is_found(what: Option<String>, text: &str) {
        assert!(what.as_ref().is_some_and(|what| what.contains(text)), "{text:?} in {what:?}");
    }

    #[test]
    fn an_answer_comes_once_to_the_channel_that_asked() {
        let (mut answers, _) = answers(2);
        assert_eq!(answers.came(key(0), 1), None);
        assert_eq!(answers.confirmed(key(0)), None);
        assert_eq!(answers.confirmed(key(1)), None);
        assert_eq!(answers.missing(), [key(1)]);
        is_found(answers.came(key(1), 2), "came to channel 2");
        assert_eq!(answers.came(key(1), 1), None);
        assert_eq!(answers.missing(), []);
        answers.forget();
        assert!(answers.all.is_empty());
    }

    #[test]
    fn what_a_later_answer_passed_is_lost_however_the_confirm_came() {
        let (mut answers, _) = answers(2);
        assert_eq!(answers.came(key(1), 1), None);
        is_found(answers.confirmed(key(0)), "lost");
        let (mut answers, _) = self::answers(2);
        assert_eq!(answers.confirmed(key(0)), None);
        is_found(answers.came(key(1), 1), "answer 0 was lost");
    }

    #[test]
    fn only_who_is_gone_may_be_missed() {
        let (mut answers, asker) = answers(2);
        is_found(answers.returned(key(0)), "is there");
        answers.close(1);
        assert_eq!(answers.returned(key(1)), None, "the close may have come before the answer");
        answers.published(key(2), asker);
        is_found(answers.confirmed(key(2)), "was gone");
        answers.open(1, 1);
        answers.published(key(3), asker);
        is_found(answers.confirmed(key(3)), "was gone");
        is_found(answers.came(key(3), 1), "instead of");
        answers.published(key(4), asker);
        assert_eq!(answers.returned(key(4)), None);
        is_found(answers.came(key(4), 1), "its requester is gone");
    }

    #[test]
    fn no_answer_outlives_the_broker() {
        let (mut answers, asker) = answers(1);
        answers.begin(4);
        answers.open(1, 0);
        is_found(answers.came(key(0), 1), "its requester is gone");
        answers.published(key(1), asker);
        is_found(answers.confirmed(key(1)), "was gone");
    }

    #[test]
    fn a_reply_address_has_one_owner() {
        let (mut answers, asker) = answers(0);
        let name = "amq.rabbitmq.reply-to.1";
        assert_eq!(answers.asked(asker, Some(name)), None);
        assert_eq!(answers.asked(asker, Some(name)), None);
        is_found(answers.asked(Asker { opened: 1, ..asker }, Some(name)), "is of");
        is_found(answers.asked(asker, Some("amq.rabbitmq.reply-to")), "names");
        is_found(answers.asked(asker, None), "names");
    }
}
