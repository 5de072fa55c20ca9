//! Who waits for a verification: a queue that is bounded, and fair between addresses, and within an address between
//! users. It holds things and does nothing with them.
//!
//! ```text
//! trusted  ─► address ─► user ─► first in, first out        Each stage takes turns. Trusted ones go first, but
//! doubtful ─► address ─► user ─► first in, first out        every eighth turn is a doubtful one's.
//! ```
//!
//! When it is full, one who comes takes the place of the newest of the address with the most waiting, so that a flood
//! from one address keeps nobody else out: a trusted one the place of a doubtful one, others only that of an address
//! that has more waiting than their own.

use super::origin::{Origin, Source, UserId};
use std::collections::{HashMap, VecDeque};

/// Of this many turns that both could have, the last is a doubtful one's.
const DOUBTFUL_TURN: u64 = 8;

/// Who is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Trusted,
    Doubtful,
}

pub(crate) struct Line<T> {
    trusted: Stage<T>,
    doubtful: Stage<T>,
    waiting_max: usize,
    /// How many were taken while some of both waited.
    turns: u64,
}

/// All that wait with one trust.
struct Stage<T> {
    origins: HashMap<Origin, Users<T>>,
    /// Those with somebody waiting; the front one is next.
    turns: VecDeque<Origin>,
    waiting: usize,
}

/// All that wait from one origin.
struct Users<T> {
    users: HashMap<UserId, VecDeque<T>>,
    /// Those with something waiting; the front one is next.
    turns: VecDeque<UserId>,
    waiting: usize,
}

impl<T> Line<T> {
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self { trusted: Stage::new(), doubtful: Stage::new(), waiting_max, turns: 0 }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.trusted.waiting + self.doubtful.waiting
    }

    /// How many of this user wait from this origin.
    pub(crate) fn waiting_of(&self, source: &Source) -> usize {
        self.trusted.waiting_of(source) + self.doubtful.waiting_of(source)
    }

    /// Lines something up. Returns what lost its place to it, or, when there is no place, the thing itself.
    pub(crate) fn push(&mut self, source: Source, trust: Trust, item: T) -> Result<Option<T>, T> {
        let mut pushed_out = None;
        if self.waiting() >= self.waiting_max {
            pushed_out = self.make_place(source.origin, trust);
            if pushed_out.is_none() {
                return Err(item);
            }
        }
        match trust {
            Trust::Trusted => self.trusted.push(source, item),
            Trust::Doubtful => self.doubtful.push(source, item),
        }
        Ok(pushed_out)
    }

    /// Takes the place of somebody away, if there is one who has to give it.
    fn make_place(&mut self, origin: Origin, trust: Trust) -> Option<T> {
        if trust == Trust::Trusted && self.doubtful.waiting > 0 {
            let (largest, _) = self.doubtful.largest()?;
            return self.doubtful.take_newest(largest);
        }
        let stage = match trust {
            Trust::Trusted => &mut self.trusted,
            Trust::Doubtful => &mut self.doubtful,
        };
        let own = stage.origins.get(&origin).map_or(0, |users| users.waiting);
        let (largest, waiting) = stage.largest()?;
        // With the one that comes, its origin has `own + 1`: more would only change who floods.
        (waiting > own + 1).then(|| stage.take_newest(largest)).flatten()
    }

    /// Takes whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.trusted.waiting > 0 && self.doubtful.waiting > 0 {
            self.turns = self.turns.wrapping_add(1);
        }
        match self.turns.is_multiple_of(DOUBTFUL_TURN) {
            true => self.doubtful.pop().or_else(|| self.trusted.pop()),
            false => self.trusted.pop().or_else(|| self.doubtful.pop()),
        }
    }
}

impl<T> Stage<T> {
    fn new() -> Self {
        Self { origins: HashMap::new(), turns: VecDeque::new(), waiting: 0 }
    }

    fn waiting_of(&self, source: &Source) -> usize {
        let users = self.origins.get(&source.origin);
        users.and_then(|users| users.users.get(&source.user)).map_or(0, VecDeque::len)
    }

    fn push(&mut self, source: Source, item: T) {
        self.waiting += 1;
        let users = self.origins.entry(source.origin).or_insert_with(|| {
            self.turns.push_back(source.origin);
            Users { users: HashMap::new(), turns: VecDeque::new(), waiting: 0 }
        });
        users.waiting += 1;
        let of_user = users.users.entry(source.user).or_insert_with(|| {
            users.turns.push_back(source.user);
            VecDeque::new()
        });
        of_user.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        let origin = self.turns.pop_front()?;
        let users = self.origins.get_mut(&origin)?;
        let user = users.turns.pop_front()?;
        let of_user = users.users.get_mut(&user)?;
        let item = of_user.pop_front();
        match of_user.is_empty() {
            true => drop(users.users.remove(&user)),
            false => users.turns.push_back(user),
        }
        users.waiting -= 1;
        self.waiting -= 1;
        match users.waiting {
            0 => drop(self.origins.remove(&origin)),
            _ => self.turns.push_back(origin),
        }
        item
    }

    /// The origin with the most waiting, and how many. Looks at every origin: it is asked only when the line is full.
    fn largest(&self) -> Option<(Origin, usize)> {
        let counted = self.origins.iter().map(|(origin, users)| (*origin, users.waiting));
        counted.max_by_key(|(_, waiting)| *waiting)
    }

    /// Takes what an origin lined up last, or nearly: the last of the user whose turn is last.
    fn take_newest(&mut self, origin: Origin) -> Option<T> {
        let users = self.origins.get_mut(&origin)?;
        let user = *users.turns.back()?;
        let of_user = users.users.get_mut(&user)?;
        let item = of_user.pop_back();
        if of_user.is_empty() {
            users.users.remove(&user);
            users.turns.pop_back();
        }
        users.waiting -= 1;
        self.waiting -= 1;
        if users.waiting == 0 {
            self.origins.remove(&origin);
            self.turns.retain(|other| *other != origin);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::ProcessKey;
    use Trust::{Doubtful, Trusted};

    fn source(address: u8, user: &str) -> Source {
        let user = UserId::of(user, &ProcessKey::new(&[0; 32]));
        Source { user, origin: Origin::V4([192, 0, 2, address].into()) }
    }

    fn all<T>(line: &mut Line<T>) -> Vec<T> {
        std::iter::from_fn(|| line.pop()).collect()
    }

    #[test]
    fn addresses_take_turns_and_users_within_them() {
        let mut line = Line::new(100);
        for n in 1..=3 {
            line.push(source(1, "a"), Trusted, format!("1a{n}")).expect("room");
        }
        for n in 1..=2 {
            line.push(source(1, "b"), Trusted, format!("1b{n}")).expect("room");
        }
        line.push(source(2, "a"), Trusted, "2a1".to_owned()).expect("room");
        assert_eq!((line.waiting(), line.waiting_of(&source(1, "a"))), (6, 3));
        assert_eq!(all(&mut line), ["1a1", "2a1", "1b1", "1a2", "1b2", "1a3"]);
        assert_eq!((line.waiting(), line.waiting_of(&source(1, "a"))), (0, 0));
        assert!(line.trusted.origins.is_empty() && line.trusted.turns.is_empty());
    }

    #[test]
    fn trusted_ones_go_first_and_doubtful_ones_do_not_starve() {
        let mut line = Line::new(100);
        for n in 0..16 {
            line.push(source(1, "bad"), Doubtful, format!("d{n}")).expect("room");
            line.push(source(1, "good"), Trusted, format!("t{n}")).expect("room");
        }
        let order = all(&mut line);
        let doubtful: Vec<usize> = (0..16).filter(|at| order[*at].starts_with('d')).collect();
        assert_eq!(doubtful, [7, 15], "{order:?}");
        assert_eq!(order.len(), 32);
    }

    #[test]
    fn a_full_line_takes_from_the_address_that_has_most() {
        let mut line = Line::new(4);
        for n in 0..4 {
            assert_eq!(line.push(source(1, &format!("u{n}")), Trusted, n), Ok(None));
        }
        assert_eq!(line.push(source(1, "u9"), Trusted, 9), Err(9), "the flood displaces itself");
        assert_eq!(line.push(source(2, "a"), Trusted, 10), Ok(Some(3)));
        assert_eq!(line.push(source(2, "b"), Trusted, 11), Ok(Some(2)));
        assert_eq!(line.push(source(2, "c"), Trusted, 12), Err(12), "both have two");
        assert_eq!(line.push(source(3, "a"), Doubtful, 13), Err(13));
        assert_eq!(all(&mut line), [0, 10, 1, 11]);
    }

    #[test]
    fn a_trusted_one_takes_a_doubtful_ones_place() {
        let mut line = Line::new(2);
        line.push(source(1, "a"), Doubtful, 1).expect("room");
        line.push(source(2, "a"), Doubtful, 2).expect("room");
        let pushed_out = [
            line.push(source(3, "a"), Trusted, 3).expect("a place"),
            line.push(source(3, "b"), Trusted, 4).expect("a place"),
        ];
        assert!(matches!(pushed_out, [Some(1), Some(2)] | [Some(2), Some(1)]), "{pushed_out:?}");
        assert_eq!(line.push(source(3, "c"), Trusted, 5), Err(5));
        assert!(line.doubtful.origins.is_empty() && line.doubtful.turns.is_empty());
        assert_eq!(all(&mut line), [3, 4]);
    }
}
