//! Latencies in buckets: 64 to each power of two, so that a percentile is at most 1.6 % too high. It takes
//! 30 KiB, however many values it counts.

const FINE_BITS: u32 = 6;
const FINE: u64 = 1 << FINE_BITS;
/// All values from 2^40 ns (18 minutes) on are in the last bucket.
const TOP_BITS: u32 = 40;
const BUCKETS: usize = ((TOP_BITS - FINE_BITS + 1) as usize) << FINE_BITS;

/// Counts of values in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    /// The value that `share` (0 to 1) of all values do not exceed; none when there are no values.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let wanted = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut passed = 0;
        let reached = |count: &u64| {
            passed += count;
            passed >= wanted
        };
        self.buckets.iter().position(reached).map(highest)
    }
}

fn bucket(value: u64) -> usize {
    let value = value.min((1 << TOP_BITS) - 1);
    if value < FINE {
        return value as usize;
    }
    // The leading bit and the next six bits.
    let shift = value.ilog2() - FINE_BITS;
    (u64::from(shift) * FINE + (value >> shift)) as usize
}

/// The highest value in a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < FINE {
        return bucket;
    }
    let shift = bucket / FINE - 1;
    ((bucket % FINE + FINE + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_that_holds_it() {
        let mut value = 0;
        while value < 1 << TOP_BITS {
            let top = highest(bucket(value));
            assert!(top >= value, "{value} is above its bucket's {top}");
            assert!(top <= value + value / 64, "{value} is counted as {top}");
            assert_eq!(bucket(top), bucket(value));
            assert_eq!(bucket(top + 1).min(BUCKETS - 1), (bucket(value) + 1).min(BUCKETS - 1));
            value = value * 33 / 32 + 1;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(value * 1000));
        for (share, exact) in [(0.5, 500_000), (0.99, 990_000), (0.999, 999_000), (1.0, 1_000_000)]
        {
            let found = histogram.percentile(share).unwrap_or_default();
            assert!(found >= exact && found <= exact + exact / 64, "{share}: {found}");
        }
    }

    #[test]
    fn one_slow_value_in_a_thousand_shows_at_the_end_only() {
        let mut histogram = Histogram::default();
        (0..999).for_each(|_| histogram.record(10));
        histogram.record(1_000_000);
        assert_eq!(histogram.percentile(0.999), Some(10));
        assert!(histogram.percentile(1.0) >= Some(1_000_000));
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    #[test]
    fn histograms_add_up() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(1);
        other.record(2);
        other.record(3);
        one.merge(&other);
        assert_eq!((one.count, one.percentile(0.5), one.percentile(1.0)), (3, Some(2), Some(3)));
    }
}
