//! Measured figures by name, scenario and broker, over all rounds.

use super::peers::Kind;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Names and values of one measurement.
pub type Figures = BTreeMap<String, f64>;

/// All measurements.
#[derive(Debug, Default)]
pub struct Results {
    cells: Vec<Cell>,
}

/// One broker in one scenario.
#[derive(Debug)]
struct Cell {
    scenario: String,
    kind: Kind,
    rounds: Vec<Figures>,
    failures: Vec<String>,
}

/// Parses the generator's line: `scenario=NAME rate=1.000 ...`
pub fn parse(text: &str) -> Result<Figures> {
    let line = text.lines().find(|line| line.starts_with("scenario="));
    let line = line.context("the generator printed nothing")?;
    let pair = |word: &str| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(line.split(' ').skip(1).filter_map(pair).collect())
}

/// The figures that are printed during a run.
pub fn brief(figures: &Figures) -> String {
    let names = [
        ("rate", "a second"),
        ("per_cpu", "a CPU second"),
        ("p50_us", "us p50"),
        ("p99_us", "us p99"),
        ("lost", "lost"),
        ("ready_ms", "ms to ready"),
        ("kib_each", "KiB each"),
        ("rss_mib", "MiB"),
    ];
    let shown = names.iter().filter_map(|(name, unit)| {
        let value = figures.get(*name)?;
        Some(format!("{} {unit}", number(*value)))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// A number with its significant digits, and commas.
pub fn number(value: f64) -> String {
    let decimals = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut shown = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !shown.ends_with('-') {
            shown.push(',');
        }
        shown.push(digit);
    }
    if rest.is_empty() { shown } else { format!("{shown}.{rest}") }
}

impl Results {
    pub fn add(&mut self, scenario: &str, kind: Kind, figures: Result<Figures, String>) {
        let same = |cell: &&mut Cell| cell.scenario == scenario && cell.kind == kind;
        let cell = match self.cells.iter_mut().find(same) {
            Some(cell) => cell,
            None => {
                let scenario = scenario.to_owned();
                let cell = Cell { scenario, kind, rounds: Vec::new(), failures: Vec::new() };
                self.cells.push(cell);
                let last = self.cells.len() - 1;
                &mut self.cells[last]
            }
        };
        match figures {
            Ok(figures) => cell.rounds.push(figures),
            Err(failure) => cell.failures.push(failure),
        }
    }

    /// Brokers that were measured, in a fixed order.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.cells.iter().map(|cell| cell.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The median over the rounds.
    pub fn median(&self, scenario: &str, kind: Kind, name: &str) -> Option<f64> {
        let mut values = self.values(scenario, kind, name);
        values.sort_unstable_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        match values.len() % 2 {
            0 => Some((values.get(values.len() / 2 - 1)? + upper) / 2.0),
            _ => Some(upper),
        }
    }

    /// The highest of all rounds.
    pub fn highest(&self, scenario: &str, kind: Kind, name: &str) -> Option<f64> {
        self.values(scenario, kind, name).into_iter().max_by(f64::total_cmp)
    }

    /// Faults of a broker: failed measurements, and these figures if they are not 0.
    pub fn faults(&self, kind: Kind, names: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        for cell in self.cells.iter().filter(|cell| cell.kind == kind) {
            let scenario = &cell.scenario;
            faults.extend(cell.failures.iter().map(|failure| format!("{scenario}: {failure}")));
            for name in names {
                let highest = self.highest(scenario, kind, name).unwrap_or_default();
                if highest > 0.0 {
                    faults.push(format!("{scenario}: {} {name}", number(highest)));
                }
            }
        }
        faults
    }

    fn values(&self, scenario: &str, kind: Kind, name: &str) -> Vec<f64> {
        let same = |cell: &&Cell| cell.scenario == scenario && cell.kind == kind;
        let rounds = self.cells.iter().filter(same).flat_map(|cell| &cell.rounds);
        rounds.filter_map(|figures| figures.get(name).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(values: &[f64]) -> Results {
        let mut results = Results::default();
        for value in values {
            let figures = Figures::from([("rate".to_owned(), *value)]);
            results.add("s", Kind::Ours, Ok(figures));
        }
        results
    }

    #[test]
    fn the_median_is_the_middle() {
        let median = |values: &[f64]| results(values).median("s", Kind::Ours, "rate");
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(results(&[1.0]).median("s", Kind::RabbitMq, "rate"), None);
    }

    #[test]
    fn the_generators_line_is_read() {
        let figures = parse("scenario=x rate=1.500 lost=0.000\n").unwrap();
        assert_eq!((figures.get("rate"), figures.get("lost")), (Some(&1.5), Some(&0.0)));
        assert!(parse("").is_err());
    }

    #[test]
    fn one_bad_round_is_a_fault() {
        let mut results = results(&[0.0, 7.0, 0.0]);
        results.add("s", Kind::Ours, Err("it broke".to_owned()));
        results.add("s", Kind::RabbitMq, Err("not ours".to_owned()));
        assert_eq!(results.faults(Kind::Ours, &["rate"]), ["s: it broke", "s: 7 rate"]);
    }

    #[test]
    fn numbers_are_readable() {
        let shown = [0.0, 0.123, 12.34, 123.4, 1234.5, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "0.12", "12.3", "123", "1,234", "1,234,567"]);
        assert_eq!(number(-123_456.7), "-123,457");
    }
}
