//! Numbers as people read them, in texts for operators.

/// A number of bytes: `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let (mut size, mut unit) = (count as f64 / 1_024.0, "KiB");
    for next in UNITS.into_iter().skip(1) {
        if size < 1_024.0 {
            break;
        }
        (size, unit) = (size / 1_024.0, next);
    }
    format!("{size:.1} {unit}")
}

/// A time: `2 d 3 h`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        let sizes = [0, 1_023, 1_024, 1 << 20, 3 << 39].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 TiB"]);
    }

    #[test]
    fn times_have_two_units() {
        let times = [59, 61, 3_600, 90_000].map(span);
        assert_eq!(times, ["59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h"]);
    }
}
