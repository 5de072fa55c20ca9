//! Exchanges that give each message to one of their bindings, whatever these ask for: by lot, or by the routing key.

use super::{Binding, Bindings, FieldsOf, Hit, Matcher};
use crate::message::Key;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bindings in an order that does not depend on when they were made.
#[derive(Default)]
struct Sorted {
    /// Each once.
    list: Bindings,
    order: Vec<Arc<Binding>>,
}

impl Sorted {
    fn put(&mut self, binding: Arc<Binding>) {
        self.list.put(binding);
        self.sort();
    }

    fn remove(&mut self, binding: &Binding) -> bool {
        let was_there = self.list.remove(binding).is_some();
        self.sort();
        was_there
    }

    fn sort(&mut self) {
        self.order = self.list.as_slice().to_vec();
        let by = |it: &Arc<Binding>| (it.target.clone(), it.key.clone());
        self.order.sort_by_cached_key(by);
    }

    /// The one with that number, counted round and round.
    fn pick(&self, number: u64) -> Option<Hit> {
        let at = number.checked_rem(self.order.len() as u64)?;
        self.order.get(usize::try_from(at).ok()?).map(|binding| Hit::of(binding))
    }

    fn bytes(&self) -> usize {
        self.order.len() * size_of::<Arc<Binding>>()
    }
}

/// FNV-1a. It stays as it is: queues are filled by it.
pub fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Spreads numbers that are near each other (SplitMix64).
pub fn spread(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `x-random` and `x-local-random`: every binding gets its share, in no order that a publisher could foresee or use.
#[derive(Default)]
pub struct Random {
    bindings: Sorted,
    /// Of messages that came.
    number: AtomicU64,
}

impl Matcher for Random {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.bindings.put(binding);
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        self.bindings.remove(binding)
    }

    fn route(&self, _: &Key, _: FieldsOf<'_>, out: &mut Vec<Hit>) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        out.extend(self.bindings.pick(spread(number)));
    }

    fn reads_fields(&self) -> bool {
        // Another message with the same key goes elsewhere.
        true
    }

    fn len(&self) -> usize {
        self.bindings.list.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.bindings.order.clone()
    }

    fn bytes(&self) -> usize {
        self.bindings.bytes()
    }
}

/// `x-modulus-hash`: always the same binding for the same key, as long as there are as many.
#[derive(Default)]
pub struct ModulusHash(Sorted);

impl Matcher for ModulusHash {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.0.put(binding);
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        self.0.remove(binding)
    }

    fn route(&self, key: &Key, _: FieldsOf<'_>, out: &mut Vec<Hit>) {
        out.extend(self.0.pick(spread(fnv(key.bytes()))));
    }

    fn len(&self) -> usize {
        self.0.list.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.0.order.clone()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{LogId, Target};
    use crate::message::Fields;
    use std::collections::BTreeMap;

    fn binding(log: u64) -> Binding {
        Binding::new("x", "any".into(), Target::Log(LogId(log)))
    }

    fn target(matcher: &dyn Matcher, key: &str) -> Option<Target> {
        let (fields, mut out) = (Fields::default(), Vec::new());
        matcher.route(&key.into(), &|| &fields, &mut out);
        assert!(out.len() <= 1);
        out.pop().map(|hit| hit.target)
    }

    fn shares(matcher: &dyn Matcher, messages: u64) -> BTreeMap<Target, u64> {
        let mut shares = BTreeMap::new();
        for number in 0..messages {
            let target = target(matcher, &format!("order/{number}")).expect("somebody gets it");
            *shares.entry(target).or_default() += 1;
        }
        shares
    }

    #[test]
    fn each_binding_gets_its_share() {
        for matcher in [&mut Random::default() as &mut dyn Matcher, &mut ModulusHash::default()] {
            assert_eq!(target(matcher, "k"), None);
            for log in 1..=4 {
                matcher.bind(Arc::new(binding(log)));
                matcher.bind(Arc::new(binding(log)));
            }
            assert_eq!(matcher.len(), 4);
            let shares = shares(matcher, 40_000);
            assert_eq!(shares.len(), 4);
            assert!(shares.values().all(|share| (9_500..10_500).contains(share)), "{shares:?}");
            assert!(matcher.unbind(&binding(3)) && !matcher.unbind(&binding(3)));
            assert_eq!(matcher.bindings().len(), 3);
        }
    }

    #[test]
    fn a_key_leads_to_one_binding_in_whatever_order_they_were_made() {
        let (mut one, mut other) = (ModulusHash::default(), ModulusHash::default());
        for log in 1..=5 {
            one.bind(Arc::new(binding(log)));
            other.bind(Arc::new(binding(6 - log)));
        }
        other.bind(Arc::new(binding(9)));
        other.unbind(&binding(9));
        for number in 0..1_000 {
            let key = format!("k{number}");
            assert_eq!(target(&one, &key), target(&other, &key));
            assert_eq!(target(&one, &key), target(&one, &key));
        }
        assert!(!one.reads_fields(), "it may be remembered");
    }
}
