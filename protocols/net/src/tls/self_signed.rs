//! Certificates to try TLS with: an authority of one's own, a server and a client that it signs. Nobody else trusts
//! them.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Days that the authority is valid.
const AUTHORITY_DAYS: u32 = 3650;
/// Days that the other two are valid; some systems accept no more.
const DAYS: u32 = 825;

/// The files that [`self_signed`] wrote, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// The authority's certificate: clients and server trust it.
    pub authority: PathBuf,
    pub authority_key: PathBuf,
    pub server: PathBuf,
    pub server_key: PathBuf,
    /// For the subject `CN=` and the client's name.
    pub client: PathBuf,
    pub client_key: PathBuf,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum SelfSignedError {
    #[error("cannot write {}: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("cannot make the certificates: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// For this machine, and a client named `client`: see [`self_signed_for`].
pub fn self_signed(dir: &Path) -> Result<SelfSigned, SelfSignedError> {
    self_signed_for(dir, &[], "client")
}

/// Makes an authority, a server certificate for `localhost`, 127.0.0.1, ::1, the machine's own name and `names` (host
/// names and addresses), and a client certificate with the common name `client`, as files of `dir`, which is made if it
/// is not there. No file is overwritten. Keys are readable by their owner only.
pub fn self_signed_for(
    dir: &Path,
    names: &[String],
    client: &str,
) -> Result<SelfSigned, SelfSignedError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| SelfSignedError::File { file: dir.to_owned(), source })?;
    let files = SelfSigned {
        authority: dir.join("ca.pem"),
        authority_key: dir.join("ca-key.pem"),
        server: dir.join("server.pem"),
        server_key: dir.join("server-key.pem"),
        client: dir.join("client.pem"),
        client_key: dir.join("client-key.pem"),
    };
    let authority_key = KeyPair::generate()?;
    let authority = authority()?;
    let certificate = authority.self_signed(&authority_key)?;
    let keys = [(&files.authority_key, authority_key.serialize_pem())];
    let authority = Issuer::new(authority, authority_key);
    let server =
        signed(server_names(names), "crossdock", ExtendedKeyUsagePurpose::ServerAuth, &authority)?;
    let client = signed(Vec::new(), client, ExtendedKeyUsagePurpose::ClientAuth, &authority)?;
    for (file, text) in
        keys.into_iter().chain([(&files.server_key, server.1), (&files.client_key, client.1)])
    {
        write(file, &text, 0o600)?;
    }
    for (file, text) in [
        (&files.authority, certificate.pem()),
        (&files.server, server.0),
        (&files.client, client.0),
    ] {
        write(file, &text, 0o644)?;
    }
    Ok(files)
}

fn authority() -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(Vec::new(), "Crossdock self-signed authority", AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A certificate and its key as PEM texts.
fn signed(
    names: Vec<String>,
    common_name: &str,
    purpose: ExtendedKeyUsagePurpose,
    authority: &Issuer<'_, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let mut params = params(names, common_name, DAYS)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn params(
    names: Vec<String>,
    common_name: &str,
    days: u32,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // The clock of another machine may be a little behind.
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
    Ok(params)
}

/// What the server may be called, without repetition.
fn server_names(more: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !own.is_empty() && own.chars().all(is_name) && !names.contains(&own) {
        names.push(own);
    }
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn write(file: &Path, text: &str, mode: u32) -> Result<(), SelfSignedError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = opened.and_then(|mut open| open.write_all(text.as_bytes()));
    written.map_err(|source| SelfSignedError::File { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ClientCertificate, TlsSettings, TlsVersion, load};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_made_can_be_loaded_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("tls");
        let files = self_signed(&dir).unwrap();
        let settings = TlsSettings {
            certificate: files.server.clone(),
            key: files.server_key.clone(),
            client_ca: Some(files.authority.clone()),
            client_certificate: ClientCertificate::Required,
            min_version: TlsVersion::V1_3,
            alpn: Vec::new(),
        };
        assert_eq!(load(&settings).unwrap().warnings, []);
        let mode = |file: &Path| file.metadata().unwrap().permissions().mode() & 0o777;
        for key in [&files.authority_key, &files.server_key, &files.client_key] {
            assert_eq!(mode(key), 0o600, "{key:?}");
        }
        let before = std::fs::read(&files.authority_key).unwrap();
        let refused = self_signed(&dir).unwrap_err().to_string();
        assert!(refused.contains("ca-key.pem"), "{refused}");
        assert_eq!(std::fs::read(&files.authority_key).unwrap(), before);
    }
}
