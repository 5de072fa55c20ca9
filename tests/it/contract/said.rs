//! What a client said or saw, as names and texts; and what a case wants to be seen.

/// A message, a frame or an answer: names in the protocol's own words, values as text, order and repeats kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said(pub Vec<(String, String)>);

/// Stands for any text inside a wanted value; alone, for any value at all.
const ANY: char = '…';
/// As a wanted value: there is no such name.
const ABSENT: &str = "–";

impl Said {
    pub fn put(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of that name.
    fn all(&self, name: &str) -> String {
        let values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        values.collect::<Vec<_>>().join(" | ")
    }

    /// The names that begin with `start`, in order, without that beginning.
    fn names(&self, start: &str) -> String {
        let names = self.0.iter().filter_map(|(name, _)| name.strip_prefix(start));
        names.collect::<Vec<_>>().join(" ")
    }

    /// What is not as wanted, as `name: wanted …, got …`. `k[]` means all values of `k`, and `h.[]` the names that
    /// begin with `h.`, in order.
    pub fn unlike(&self, wanted: &Said) -> Vec<String> {
        let mut unlike = Vec::new();
        for (name, want) in &wanted.0 {
            let got = match name.strip_suffix("[]") {
                Some(start) if start.is_empty() || start.ends_with('.') => Some(self.names(start)),
                Some(name) => Some(self.all(name)),
                None => self.get(name).map(str::to_owned),
            };
            let agrees = match &got {
                None => want == ABSENT,
                Some(got) => want != ABSENT && matches(got, want),
            };
            if !agrees {
                let got = got.unwrap_or_else(|| "nothing of that name".to_owned());
                unlike.push(format!("{name}: wanted {want:?}, got {got:?}"));
            }
        }
        unlike
    }
}

/// Whether a value is the wanted one: the same text, a number within `low..high`, or a pattern with `…`.
fn matches(got: &str, want: &str) -> bool {
    if let Some((low, high)) = want.split_once("..")
        && let (Ok(low), Ok(high)) = (low.parse::<u64>(), high.parse::<u64>())
    {
        return got.parse().is_ok_and(|number: u64| (low..=high).contains(&number));
    }
    let Some((start, rest)) = want.split_once(ANY) else { return got == want };
    let Some(mut left) = got.strip_prefix(start) else { return false };
    let Some((middle, end)) = rest.rsplit_once(ANY) else { return left.ends_with(rest) };
    for part in middle.split(ANY) {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

/// Octets as text: as they are where that can be read, else as `hex:…`.
pub fn shown(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.chars().any(|c| c.is_control() && c != '\n') => text.to_owned(),
        _ => format!("hex:{}", octets.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

/// The octets of a text in the table: `hex:…`, `fill:COUNT`, or itself.
pub fn octets(text: &str) -> Vec<u8> {
    if let Some(digits) = text.strip_prefix("hex:") {
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex"));
        return pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect();
    }
    match text.strip_prefix("fill:") {
        Some(count) => vec![b'x'; count.parse().expect("a count")],
        None => text.as_bytes().to_vec(),
    }
}

#[test]
fn wanted_values_are_compared() {
    for (got, want, agrees) in [
        ("a", "a", true),
        ("a", "b", false),
        ("abc", "a…c", true),
        ("abc", "…", true),
        ("a-b-c", "a…b…c", true),
        ("ac", "a…b…c", false),
        ("7", "1..9", true),
        ("70", "1..9", false),
        ("a..b", "a..b", true),
    ] {
        assert_eq!(matches(got, want), agrees, "{got} {want}");
    }
    let said = Said(vec![("a".into(), "1".into()), ("a".into(), "2".into())]);
    let wanted = |name: &str, value: &str| Said(vec![(name.into(), value.into())]);
    assert!(said.unlike(&wanted("a[]", "1 | 2")).is_empty());
    assert!(said.unlike(&wanted("b", "–")).is_empty());
    assert_eq!(said.unlike(&wanted("a", "–")).len(), 1);
    assert_eq!(said.unlike(&wanted("b", "…")).len(), 1);
}
