//! Numbers that a module counts itself.

use crossdock_core::transform::Number;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Numbers of one module.
const NUMBERS_MAX: usize = 64;
/// Bytes of a name.
const NAME_MAX: usize = 64;

/// The numbers of one step's module.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    by_name: Mutex<BTreeMap<String, Number>>,
}

impl Numbers {
    pub(super) fn count(&self, name: &str, by: u64) -> Result<(), String> {
        self.change(name, Number::Counter(0), |number| match number {
            Number::Counter(sum) => Some(Number::Counter(sum.saturating_add(by))),
            Number::Gauge(_) => None,
        })
    }

    pub(super) fn gauge(&self, name: &str, value: f64) -> Result<(), String> {
        self.change(name, Number::Gauge(0.0), |number| match number {
            Number::Gauge(_) => Some(Number::Gauge(value)),
            Number::Counter(_) => None,
        })
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Vec<(String, Number)> {
        self.by_name.lock().iter().map(|(name, number)| (name.clone(), *number)).collect()
    }

    fn change(
        &self,
        name: &str,
        first: Number,
        change: impl FnOnce(Number) -> Option<Number>,
    ) -> Result<(), String> {
        let mut by_name = self.by_name.lock();
        if let Some(number) = by_name.get_mut(name) {
            *number = change(*number).ok_or_else(|| match number {
                Number::Counter(_) => format!("'{name}' is a counter"),
                Number::Gauge(_) => format!("'{name}' is a gauge"),
            })?;
            return Ok(());
        }
        if !is_name(name) {
            return Err(format!(
                "a number's name has 1 to {NAME_MAX} lower-case letters, digits and _, a letter first"
            ));
        }
        if by_name.len() >= NUMBERS_MAX {
            return Err(format!("a module has at most {NUMBERS_MAX} numbers"));
        }
        by_name.insert(name.to_owned(), change(first).unwrap_or(first));
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    name.len() <= NAME_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_names_kinds_and_an_end() {
        let numbers = Numbers::default();
        numbers.count("seen", 2).unwrap();
        numbers.count("seen", u64::MAX).unwrap();
        numbers.gauge("depth_1", -1.5).unwrap();
        assert_eq!(numbers.gauge("seen", 1.0).unwrap_err(), "'seen' is a counter");
        assert_eq!(numbers.count("depth_1", 1).unwrap_err(), "'depth_1' is a gauge");
        for name in ["", "1a", "A", "a-b", "a\n", "ä", &"a".repeat(65)] {
            assert!(numbers.count(name, 1).is_err(), "{name}");
        }
        assert_eq!(
            numbers.all(),
            [
                ("depth_1".to_owned(), Number::Gauge(-1.5)),
                ("seen".to_owned(), Number::Counter(u64::MAX))
            ]
        );
        for n in 2..64 {
            numbers.count(&format!("n{n}"), 0).unwrap();
        }
        assert_eq!(numbers.count("more", 1).unwrap_err(), "a module has at most 64 numbers");
        numbers.count("seen", 0).unwrap();
    }
}
