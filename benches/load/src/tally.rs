//! Compares the deliveries with the messages sent: lost, duplicated, out of order, foreign. One bit for each message,
//! so that exactly the messages without a delivery count as lost.

/// Highest number of messages of one producer; a delivery with a higher number is foreign.
pub const SEQUENCE_MAX: u64 = 1 << 27;

/// How messages are shared among consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each message goes to one of the consumers.
    Shared,
    /// Each message goes to every consumer.
    Copies,
}

/// The deliveries of one producer's messages to one consumer.
#[derive(Clone, Debug, Default)]
struct Track {
    seen: Vec<u64>,
    /// One more than the highest number so far.
    next: u64,
    duplicated: u64,
    disordered: u64,
}

/// The deliveries to one consumer.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    tracks: Vec<Track>,
    received: u64,
    foreign: u64,
}

/// The result for all messages of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages that producers sent.
    pub sent: u64,
    /// Deliveries, all of them.
    pub received: u64,
    /// Expected deliveries that did not come.
    pub lost: u64,
    /// Repeated deliveries, to the same consumer or, if only one consumer should get the message, to another.
    pub duplicated: u64,
    /// First deliveries that came after a later message of the same producer to the same consumer.
    pub disordered: u64,
    /// Deliveries that this run did not send, or whose body was changed.
    pub foreign: u64,
}

impl Tally {
    /// A tally for this many producers.
    pub fn new(producers: usize) -> Self {
        Self { tracks: vec![Track::default(); producers], ..Self::default() }
    }

    /// Deliveries so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// A delivery.
    pub fn record(&mut self, producer: u32, sequence: u64) {
        let track = usize::try_from(producer).ok().and_then(|at| self.tracks.get_mut(at));
        match track {
            Some(track) if sequence < SEQUENCE_MAX => {
                self.received += 1;
                track.record(sequence);
            }
            _ => self.record_foreign(),
        }
    }

    /// Counts a foreign delivery.
    pub fn record_foreign(&mut self) {
        self.received += 1;
        self.foreign += 1;
    }
}

impl Track {
    fn record(&mut self, sequence: u64) {
        let (word, bit) = place(sequence);
        if word >= self.seen.len() {
            // Grown in larger steps, so that this is rare.
            self.seen.resize((word + 1).next_power_of_two().max(1024), 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicated += 1;
            return;
        }
        self.seen[word] |= bit;
        if sequence < self.next {
            self.disordered += 1;
        } else {
            self.next = sequence + 1;
        }
    }
}

fn place(sequence: u64) -> (usize, u64) {
    ((sequence / 64) as usize, 1 << (sequence % 64))
}

/// Compares the deliveries to all consumers with the messages of all producers.
pub fn account(tallies: &[Tally], sent: &[u64], spread: Spread) -> Account {
    let mut account = Account { sent: sent.iter().sum(), ..Account::default() };
    for tally in tallies {
        account.received += tally.received;
        account.foreign += tally.foreign;
        account.duplicated += tally.tracks.iter().map(|track| track.duplicated).sum::<u64>();
        account.disordered += tally.tracks.iter().map(|track| track.disordered).sum::<u64>();
    }
    for (producer, sent) in sent.iter().enumerate() {
        let tracks: Vec<&Track> = tallies.iter().filter_map(|t| t.tracks.get(producer)).collect();
        let seen_by = |track: &Track| count(&track.seen, *sent);
        match spread {
            Spread::Copies => {
                for track in tracks {
                    let (ours, beyond) = seen_by(track);
                    account.lost += sent - ours;
                    account.foreign += beyond;
                }
            }
            Spread::Shared => {
                let mut union = Vec::new();
                let mut parts = 0;
                for track in tracks {
                    merge(&mut union, &track.seen);
                    let (ours, beyond) = seen_by(track);
                    parts += ours;
                    account.foreign += beyond;
                }
                let (ours, _) = count(&union, *sent);
                account.lost += sent - ours;
                account.duplicated += parts - ours;
            }
        }
    }
    account
}

fn merge(union: &mut Vec<u64>, seen: &[u64]) {
    if union.len() < seen.len() {
        union.resize(seen.len(), 0);
    }
    for (all, one) in union.iter_mut().zip(seen) {
        *all |= one;
    }
}

/// Bits below `sent`, and the others.
fn count(seen: &[u64], sent: u64) -> (u64, u64) {
    let (mut ours, mut beyond) = (0, 0);
    for (at, word) in seen.iter().enumerate() {
        let from = at as u64 * 64;
        let mask = match sent.saturating_sub(from) {
            64.. => u64::MAX,
            bits => (1 << bits) - 1,
        };
        ours += u64::from((word & mask).count_ones());
        beyond += u64::from((word & !mask).count_ones());
    }
    (ours, beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(producers: usize, arrivals: &[(u32, u64)]) -> Tally {
        let mut tally = Tally::new(producers);
        arrivals.iter().for_each(|(producer, sequence)| tally.record(*producer, *sequence));
        tally
    }

    fn one(sent: u64, arrivals: impl IntoIterator<Item = u64>) -> Account {
        let arrivals: Vec<(u32, u64)> = arrivals.into_iter().map(|s| (0, s)).collect();
        account(&[tally(1, &arrivals)], &[sent], Spread::Shared)
    }

    #[test]
    fn nothing_is_wrong_when_everything_comes_once_and_in_order() {
        let fine = one(100_000, 0..100_000);
        let expected = Account { sent: 100_000, received: 100_000, ..Account::default() };
        assert_eq!(fine, expected);
    }

    #[test]
    fn what_does_not_come_is_lost() {
        assert_eq!(one(1000, (0..1000).filter(|s| s % 10 != 3)).lost, 100);
        assert_eq!(one(1000, 0..990).lost, 10, "at the end");
        assert_eq!(one(1000, 10..1000).lost, 10, "at the start");
        assert_eq!(one(1000, 0..0).lost, 1000, "nothing came");
        assert_eq!(one(64, 0..64).lost, 0, "a whole word");
        assert_eq!(one(65, 0..64).lost, 1, "one beyond a whole word");
    }

    #[test]
    fn what_comes_again_is_a_duplicate_and_nothing_else() {
        let again = one(5, [0, 1, 2, 1, 3, 4, 4]);
        let expected = Account { sent: 5, received: 7, duplicated: 2, ..Account::default() };
        assert_eq!(again, expected);
    }

    #[test]
    fn what_comes_late_is_out_of_order_and_not_lost() {
        let late = one(5, [0, 2, 3, 1, 4]);
        assert_eq!(late, Account { sent: 5, received: 5, disordered: 1, ..Account::default() });
        assert_eq!(one(3, [2, 1, 0]).disordered, 2);
    }

    #[test]
    fn a_gap_is_neither_late_nor_double() {
        let gap = one(5, [0, 1, 4]);
        assert_eq!(gap, Account { sent: 5, received: 3, lost: 2, ..Account::default() });
    }

    #[test]
    fn producers_are_told_apart() {
        let both = tally(2, &[(0, 0), (1, 0), (1, 1), (0, 1)]);
        let sums = account(&[both], &[2, 3], Spread::Shared);
        assert_eq!(sums, Account { sent: 5, received: 4, lost: 1, ..Account::default() });
    }

    #[test]
    fn sharing_consumers_are_seen_as_one() {
        let tallies = [tally(1, &[(0, 0), (0, 2)]), tally(1, &[(0, 1), (0, 2), (0, 3)])];
        let shared = account(&tallies, &[5], Spread::Shared);
        let expected =
            Account { sent: 5, received: 5, lost: 1, duplicated: 1, ..Default::default() };
        assert_eq!(shared, expected, "2 came twice, 4 never; each consumer's own order is right");
    }

    #[test]
    fn copies_are_counted_for_each_consumer() {
        let all: Vec<(u32, u64)> = (0..10).map(|s| (0, s)).collect();
        let tallies = [tally(1, &all), tally(1, &all[..7]), tally(1, &[])];
        let copies = account(&tallies, &[10], Spread::Copies);
        assert_eq!(copies, Account { sent: 10, received: 17, lost: 13, ..Account::default() });
    }

    #[test]
    fn what_nobody_sent_is_foreign() {
        let mut strange = tally(1, &[(0, 0), (5, 0), (0, SEQUENCE_MAX), (0, 70)]);
        strange.record_foreign();
        let sums = account(&[strange], &[2], Spread::Shared);
        assert_eq!(
            sums,
            Account { sent: 2, received: 5, lost: 1, foreign: 4, ..Account::default() }
        );
    }
}
