//! Durations and sizes as configuration writes them.

use std::time::Duration;

/// A whole number with `ms`, `s`, `m` or `h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let ms = scaled(text, &UNITS);
    ms.map(Duration::from_millis)
        .ok_or_else(|| format!("'{text}' is not a duration: a whole number with ms, s, m or h"))
}

/// A whole number with `B`, `KiB`, `MiB` or `GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] =
        [("b", 1), ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30)];
    scaled(text, &UNITS)
        .ok_or_else(|| format!("'{text}' is not a size: a whole number with B, KiB, MiB or GiB"))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("2 m"), Ok(Duration::from_secs(120)));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        for bad in ["", "5", "ms", "-1s", "1.5s", "5 days", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(size("16MB").is_err() && size("99999999999GiB").is_err());
    }
}
