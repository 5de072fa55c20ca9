//! When a certificate of a listener's files is valid. Whether that is trouble is for whoever asks at what time.

use rustls::pki_types::CertificateDer;
use std::fmt;
use std::path::PathBuf;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// A certificate that was read from a file of [`TlsSettings`](super::TlsSettings), and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateTime {
    /// The field of the settings that names the file.
    pub setting: &'static str,
    pub file: PathBuf,
    /// Its place in the file, from 1.
    pub number: usize,
    /// It is not valid before that.
    pub from: Moment,
    /// It is valid up to then.
    pub until: Moment,
}

/// A moment, in seconds since 1970; shown as `2026-12-24 18:00 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One that has no year of four digits is shown as its number.
        let Ok(time) = ASN1Time::from_timestamp(self.0) else {
            return write!(f, "second {} since 1970", self.0);
        };
        let time = time.to_datetime();
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        write!(f, "{year}-{month:02}-{day:02} {:02}:{:02} UTC", time.hour(), time.minute())
    }
}

/// From when and until when it is valid; none: it is malformed.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<(Moment, Moment)> {
    let (_, read) = parse_x509_certificate(certificate).ok()?;
    let times = read.validity();
    Some((Moment(times.not_before.timestamp()), Moment(times.not_after.timestamp())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc() {
        assert_eq!(Moment(0).to_string(), "1970-01-01 00:00 UTC");
        assert_eq!(Moment(1_798_135_259).to_string(), "2026-12-24 18:00 UTC");
        assert_eq!(Moment(i64::MAX).to_string(), format!("second {} since 1970", i64::MAX));
    }
}
