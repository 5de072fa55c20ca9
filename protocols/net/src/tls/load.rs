//! Reads the files of a listener's TLS and checks whatever can be checked before a client comes. All mistakes are found
//! in one go.

use super::validity::{self, CertificateTime, Moment};
use super::{ClientCertificate, TlsConfig, TlsSettings, TlsVersion};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use sha1::{Digest, Sha1};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest name of a protocol in bytes (RFC 7301, 3.1).
const ALPN_BYTES_MAX: usize = 255;

/// Something wrong with the files or settings of a listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsMistake {
    pub kind: TlsMistakeKind,
    /// The field of [`TlsSettings`] that it is about.
    pub setting: &'static str,
    /// The file that is to be looked at; none: the setting itself is wrong.
    pub file: Option<PathBuf>,
    /// What is wrong with it.
    pub reason: String,
}

/// What kind of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMistakeKind {
    /// The file cannot be read.
    Unreadable,
    /// There is no certificate in the file, or it is malformed.
    NoCertificate,
    /// There is no private key in the file, or it is malformed or encrypted.
    NoKey,
    /// The key is another certificate's.
    KeyMismatch,
    /// A certificate is not valid any more.
    Expired,
    /// A certificate is not valid yet.
    NotYetValid,
    /// Settings that do not go together.
    Setting,
    /// Others on this machine can read the private key, or its group can change it. A warning: it works.
    KeyExposed,
}

impl TlsMistake {
    /// It is no reason not to use the files.
    pub fn is_warning(&self) -> bool {
        self.kind == TlsMistakeKind::KeyExposed
    }
}

impl fmt::Display for TlsMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Loads the files of a listener's TLS. An error has every mistake, warnings among them; warnings alone are no error.
pub fn load(settings: &TlsSettings) -> Result<TlsConfig, Vec<TlsMistake>> {
    let mut mistakes = Mistakes { found: Vec::new(), read: Vec::new(), contents: Sha1::new() };
    let provider = Arc::new(ring::default_provider());
    let chain = mistakes.certificates(certificate(settings));
    let key = mistakes.key(key(settings));
    let certified = match (chain, key) {
        (Some(chain), Some(key)) => mistakes.certified(settings, &provider, (chain, key)),
        _ => None,
    };
    let authorities = mistakes.authorities(settings);
    mistakes.alpn(&settings.alpn);
    let wrong = mistakes.found.iter().any(|mistake| !mistake.is_warning());
    let (Some(certified), false) = (certified, wrong) else { return Err(mistakes.found) };
    match assemble(settings, provider, certified, authorities) {
        Ok(server) => Ok(TlsConfig {
            server: Arc::new(server),
            certificates: mistakes.read,
            contents: mistakes.contents.finalize().into(),
            warnings: mistakes.found,
        }),
        Err(reason) => {
            mistakes.setting("client_ca", reason);
            Err(mistakes.found)
        }
    }
}

/// Puts together what was checked.
fn assemble(
    settings: &TlsSettings,
    provider: Arc<CryptoProvider>,
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    authorities: Option<RootCertStore>,
) -> Result<ServerConfig, String> {
    let versions = match settings.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match authorities {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match settings.client_certificate {
                ClientCertificate::Required => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
    server.alpn_protocols = settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    // Nothing is remembered of a client, so that a certificate is looked at in every handshake. Devices that resume are
    // rare, and a store of sessions is memory that strangers fill.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(server)
}

/// A file, and the setting that names it.
#[derive(Clone, Copy)]
struct Origin<'a> {
    setting: &'static str,
    file: &'a Path,
}

fn certificate(settings: &TlsSettings) -> Origin<'_> {
    Origin { setting: "certificate", file: &settings.certificate }
}

fn key(settings: &TlsSettings) -> Origin<'_> {
    Origin { setting: "key", file: &settings.key }
}

struct Mistakes {
    found: Vec<TlsMistake>,
    /// Every certificate that was read.
    read: Vec<CertificateTime>,
    /// Of all files, to find out whether they have changed.
    contents: Sha1,
}

impl Mistakes {
    fn add(&mut self, kind: TlsMistakeKind, from: Origin<'_>, reason: impl Into<String>) {
        let (setting, file) = (from.setting, Some(from.file.to_owned()));
        self.found.push(TlsMistake { kind, setting, file, reason: reason.into() });
    }

    fn setting(&mut self, setting: &'static str, reason: impl Into<String>) {
        let kind = TlsMistakeKind::Setting;
        self.found.push(TlsMistake { kind, setting, file: None, reason: reason.into() });
    }

    fn read(&mut self, file: Origin<'_>) -> Option<Vec<u8>> {
        let read = fs::read(file.file).inspect(|bytes| {
            self.contents.update(bytes.len().to_le_bytes());
            self.contents.update(bytes);
        });
        read.map_err(|error| {
            self.add(TlsMistakeKind::Unreadable, file, format!("cannot be read: {error}"))
        })
        .ok()
    }

    /// The certificates of a file; none after a mistake.
    fn certificates(&mut self, file: Origin<'_>) -> Option<Vec<CertificateDer<'static>>> {
        let kind = TlsMistakeKind::NoCertificate;
        let text = self.read(file)?;
        let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
        let certificates = match found {
            Ok(found) if found.is_empty() => {
                self.add(kind, file, "has no certificate in PEM form in it");
                return None;
            }
            Ok(found) => found,
            Err(error) => {
                self.add(kind, file, format!("is not well-formed PEM: {error}"));
                return None;
            }
        };
        let before = self.found.len();
        for (index, certificate) in certificates.iter().enumerate() {
            self.check_time(file, index + 1, certificate);
        }
        (self.found.len() == before).then_some(certificates)
    }

    /// Notes when it is valid, and whether that is now. `number`: its place in the file, from 1.
    fn check_time(&mut self, file: Origin<'_>, number: usize, certificate: &CertificateDer<'_>) {
        let Some((from, until)) = validity::of(certificate) else {
            let reason = format!("its certificate no. {number} is malformed");
            return self.add(TlsMistakeKind::NoCertificate, file, reason);
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = Moment(i64::try_from(now).unwrap_or(i64::MAX));
        if until < now {
            let reason = format!(
                "its certificate no. {number} expired on {until}: put a new one into the file"
            );
            self.add(TlsMistakeKind::Expired, file, reason);
        } else if from > now {
            let reason = format!("its certificate no. {number} is not valid before {from}");
            self.add(TlsMistakeKind::NotYetValid, file, reason);
        }
        let (setting, file) = (file.setting, file.file.to_owned());
        self.read.push(CertificateTime { setting, file, number, from, until });
    }

    /// The private key of a file; none after a mistake.
    fn key(&mut self, file: Origin<'_>) -> Option<PrivateKeyDer<'static>> {
        let text = self.read(file)?;
        if fs::metadata(file.file).is_ok_and(|meta| meta.permissions().mode() & 0o027 != 0) {
            let reason = "others on this machine can read the private key, or its group can change \
                 it: take the right away (chmod g-w,o= FILE)";
            self.add(TlsMistakeKind::KeyExposed, file, reason);
        }
        let reason = match PrivateKeyDer::from_pem_slice(&text) {
            Ok(key) => return Some(key),
            Err(pem::Error::NoItemsFound) if contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
                "its private key is encrypted: store it decrypted (openssl pkey)".into()
            }
            Err(pem::Error::NoItemsFound) => "has no private key in PEM form in it".into(),
            Err(error) => format!("is not well-formed PEM: {error}"),
        };
        self.add(TlsMistakeKind::NoKey, file, reason);
        None
    }

    /// Certificates and key, if they go together.
    fn certified(
        &mut self,
        settings: &TlsSettings,
        provider: &CryptoProvider,
        (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    ) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let key_file = self::key(settings);
        let signing = match provider.key_provider.load_private_key(key.clone_key()) {
            Ok(signing) => signing,
            Err(error) => {
                let reason = format!("its private key cannot be used: {error}");
                self.add(TlsMistakeKind::NoKey, key_file, reason);
                return None;
            }
        };
        match CertifiedKey::new(chain.clone(), signing).keys_match() {
            // Some keys do not tell their public half: then the handshake will show it.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Some((chain, key)),
            Err(Error::InconsistentKeys(_)) => {
                let certificate = settings.certificate.display();
                let reason =
                    format!("its key is not that of the first certificate of {certificate}");
                self.add(TlsMistakeKind::KeyMismatch, key_file, reason);
                None
            }
            Err(error) => {
                let reason = format!("its first certificate cannot be used: {error}");
                self.add(TlsMistakeKind::NoCertificate, certificate(settings), reason);
                None
            }
        }
    }

    /// Those who may have signed a client's certificate; none: no client is asked for one.
    fn authorities(&mut self, settings: &TlsSettings) -> Option<RootCertStore> {
        let file = match (&settings.client_ca, settings.client_certificate) {
            (None, ClientCertificate::Off) => return None,
            (Some(file), ClientCertificate::Optional | ClientCertificate::Required) => {
                Origin { setting: "client_ca", file }
            }
            (None, _) => {
                let reason =
                    "client certificates are asked for, and client_ca does not say who signs them";
                self.setting("client_certificate", reason);
                return None;
            }
            (Some(_), ClientCertificate::Off) => {
                let reason =
                    "client_ca is given, and client_certificate is off: nobody is asked for one";
                self.setting("client_ca", reason);
                return None;
            }
        };
        let mut roots = RootCertStore::empty();
        for (index, certificate) in self.certificates(file)?.into_iter().enumerate() {
            if let Err(error) = roots.add(certificate) {
                let reason = format!("its certificate no. {} cannot be used: {error}", index + 1);
                self.add(TlsMistakeKind::NoCertificate, file, reason);
            }
        }
        Some(roots)
    }

    fn alpn(&mut self, names: &[String]) {
        for name in names.iter().filter(|name| name.is_empty() || name.len() > ALPN_BYTES_MAX) {
            self.setting("alpn", format!("'{name}' is no name for ALPN: it has 1 to 255 bytes"));
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
