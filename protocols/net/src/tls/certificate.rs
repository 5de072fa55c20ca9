//! What a client's certificate says about it, in words of the core.

use crossdock_core::{PeerCertificate, San};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};
use x509_parser::asn1_rs::{Any, ToDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::x509::X509Name;

/// Short names of attribute types: those of RFC 4514, section 3, and two more that are registered and common.
const SHORT: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Reads a certificate (DER); none if it is malformed.
pub(super) fn read(der: &[u8]) -> Option<PeerCertificate> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let mut names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let common_name = match (names.next(), names.next()) {
        (Some(only), None) => Some(only.to_owned()),
        _ => None,
    };
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Some(PeerCertificate {
        subject: text(subject)?,
        common_name,
        sans: sans(&certificate)?,
        not_after: UNIX_EPOCH + Duration::from_secs(seconds),
    })
}

fn sans(certificate: &X509Certificate<'_>) -> Option<Vec<San>> {
    let Some(extension) = certificate.subject_alternative_name().ok()? else {
        return Some(Vec::new());
    };
    let known = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(San::Dns((*name).to_owned())),
        GeneralName::RFC822Name(name) => Some(San::Email((*name).to_owned())),
        GeneralName::URI(name) => Some(San::Uri((*name).to_owned())),
        GeneralName::IPAddress(bytes) => address(bytes).map(San::Ip),
        _ => None,
    });
    Some(known.collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The name as RFC 4514, section 2, writes it.
fn text(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    // 2.1: the last part comes first.
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        // 2.2: attributes of one part are joined by plus signs.
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            let kind = attribute.attr_type().to_id_string();
            let short = SHORT.iter().find(|(id, _)| *id == kind);
            match (short, attribute.as_str()) {
                (Some((_, short)), Ok(value)) => {
                    text.push_str(short);
                    text.push('=');
                    escape(value, &mut text);
                }
                // 2.4: what has no text form is written as its encoding.
                _ => {
                    let _ = write!(text, "{}=#", short.map_or(&*kind, |(_, short)| short));
                    hexadecimal(attribute.attr_value(), &mut text)?;
                }
            }
        }
    }
    Some(text)
}

/// 2.4: what has a meaning in such a text is escaped.
fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, char) in value.chars().enumerate() {
        match char {
            '\0' => text.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', char]),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            char => text.push(char),
        }
    }
}

fn hexadecimal(value: &Any<'_>, text: &mut String) -> Option<()> {
    for byte in value.to_der_vec().ok()? {
        let _ = write!(text, "{byte:02x}");
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair, SanType,
    };

    fn certificate(params: CertificateParams) -> Option<PeerCertificate> {
        let key = KeyPair::generate().unwrap();
        read(params.self_signed(&key).unwrap().der())
    }

    fn subject(parts: &[(DnType, &str)]) -> PeerCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        certificate(params).unwrap()
    }

    #[test]
    fn the_subject_is_written_as_rfc_4514_says() {
        let read = subject(&[
            (DnType::CountryName, "DE"),
            (DnType::OrganizationName, "Müller, Söhne + Co; \"M\""),
            (DnType::CommonName, " #1 \\ sensor<7> "),
        ]);
        let want = "CN=\\ #1 \\\\ sensor\\<7\\>\\ ,O=Müller\\, Söhne \\+ Co\\; \\\"M\\\",C=DE";
        assert_eq!(read.subject, want);
        assert_eq!(read.common_name.as_deref(), Some(" #1 \\ sensor<7> "));
        assert_eq!(subject(&[(DnType::CommonName, "#a\0b")]).subject, "CN=\\#a\\00b");
        assert_eq!(subject(&[]).subject, "");
        assert_eq!(subject(&[]).common_name, None);
    }

    #[test]
    fn what_has_no_short_name_is_written_by_number_and_encoding() {
        let unknown = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 1466, 0]);
        // The example of RFC 4514, section 4, as a UTF8String.
        assert_eq!(subject(&[(unknown, "Hi")]).subject, "1.3.6.1.4.1.1466.0=#0c024869");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let wide = rcgen::string::BmpString::try_from("a").unwrap();
        params.distinguished_name.push(DnType::CommonName, DnValue::BmpString(wide));
        let read = certificate(params).unwrap();
        assert_eq!((&*read.subject, read.common_name), ("CN=#1e020061", None));
    }

    #[test]
    fn alternative_names_keep_their_order() {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI("urn:device:7".try_into().unwrap()),
            SanType::DnsName("a.example".try_into().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::Rfc822Name("a@example.org".try_into().unwrap()),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
        ];
        let want = [
            San::Uri("urn:device:7".into()),
            San::Dns("a.example".into()),
            San::Ip("2001:db8::7".parse().unwrap()),
            San::Email("a@example.org".into()),
            San::Ip("192.0.2.7".parse().unwrap()),
        ];
        assert_eq!(certificate(params).unwrap().sans, want);
    }

    #[test]
    fn what_is_malformed_is_not_guessed() {
        let mut params = CertificateParams::default();
        let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x05, 1]);
        params.custom_extensions.push(names);
        assert_eq!(certificate(params), None);
        assert_eq!(read(b"\x30\x03\x02\x01\x01"), None);
    }
}
