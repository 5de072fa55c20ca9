//! Loading with good files and with bad ones.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::time::Duration;
use tempfile::TempDir;

/// A folder of PEM files, and settings that name them.
struct Scene {
    dir: TempDir,
    settings: TlsSettings,
}

impl Scene {
    /// A good certificate with its key.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = TlsSettings {
            certificate: dir.path().join("server.pem"),
            key: dir.path().join("server-key.pem"),
            client_ca: None,
            client_certificate: ClientCertificate::Off,
            min_version: TlsVersion::V1_2,
            alpn: vec!["mqtt".into()],
        };
        let scene = Self { dir, settings };
        let (certificate, key) = certificate(0, 30);
        scene.write("server.pem", &certificate);
        scene.write("server-key.pem", &key);
        scene
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.dir.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    }

    /// Kind, file and reason of all mistakes.
    fn mistakes(&self) -> Vec<(TlsMistakeKind, String, String)> {
        let mistakes = load(&self.settings).map(|config| config.warnings);
        let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
        let shown =
            |m: TlsMistake| (m.kind, m.file.as_ref().map(name).unwrap_or_default(), m.reason);
        mistakes.unwrap_or_else(|mistakes| mistakes).into_iter().map(shown).collect()
    }

    fn kinds(&self) -> Vec<(TlsMistakeKind, String)> {
        self.mistakes().into_iter().map(|(kind, file, _)| (kind, file)).collect()
    }
}

/// A self-signed certificate, valid from so many days ago for so many days, and its key.
fn certificate(days_ago: i64, days: u64) -> (String, String) {
    let day = Duration::from_secs(24 * 60 * 60);
    let ago = day * days_ago.unsigned_abs() as u32;
    let now = SystemTime::now() - Duration::from_secs(60);
    let from = if days_ago < 0 { now + ago } else { now - ago };
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = from.into();
    params.not_after = (from + day * days as u32).into();
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_good_pair_is_loaded() {
    let mut scene = Scene::new();
    assert_eq!(scene.kinds(), []);
    scene.settings.client_ca = Some(scene.dir.path().join("server.pem"));
    for asked in [ClientCertificate::Optional, ClientCertificate::Required] {
        scene.settings.client_certificate = asked;
        assert_eq!(scene.kinds(), []);
    }
}

#[test]
fn every_mistake_is_named_with_its_file() {
    use TlsMistakeKind::*;
    let mut scene = Scene::new();
    scene.write("server.pem", &certificate(31, 30).0);
    scene.write("server-key.pem", "no key");
    scene
        .write("ca.pem", &(certificate(-2, 30).0 + &certificate(0, 30).0 + &certificate(40, 30).0));
    scene.settings.client_ca = Some(scene.dir.path().join("ca.pem"));
    scene.settings.client_certificate = ClientCertificate::Required;
    scene.settings.alpn.push(String::new());
    let settings: Vec<_> =
        load(&scene.settings).unwrap_err().into_iter().map(|mistake| mistake.setting).collect();
    assert_eq!(settings, ["certificate", "key", "client_ca", "client_ca", "alpn"]);
    let found = scene.mistakes();
    let kinds: Vec<_> = found.iter().map(|(kind, file, _)| (*kind, file.as_str())).collect();
    let want = [
        (Expired, "server.pem"),
        (NoKey, "server-key.pem"),
        (NotYetValid, "ca.pem"),
        (Expired, "ca.pem"),
        (Setting, ""),
    ];
    assert_eq!(kinds, want);
    assert!(found[3].2.starts_with("its certificate no. 3 expired on "), "{}", found[3].2);
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    use TlsMistakeKind::*;
    let scene = Scene::new();
    let (other, other_key) = certificate(0, 30);
    scene.write("server-key.pem", &other_key);
    assert_eq!(scene.kinds(), [(KeyMismatch, "server-key.pem".into())]);
    scene.write("server-key.pem", &other);
    assert_eq!(scene.kinds(), [(NoKey, "server-key.pem".into())]);
    scene.write("server-key.pem", &other_key.replace("PRIVATE", "ENCRYPTED PRIVATE"));
    assert!(scene.mistakes()[0].2.contains("encrypted"), "{:?}", scene.mistakes());
    scene.write("server-key.pem", &other_key);
    for text in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n", &other_key] {
        scene.write("server.pem", text);
        assert_eq!(scene.kinds(), [(NoCertificate, "server.pem".into())], "{text}");
    }
    scene.write("server.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_eq!(scene.kinds(), [(NoCertificate, "server.pem".into())]);
    fs::remove_file(&scene.settings.certificate).unwrap();
    fs::remove_file(&scene.settings.key).unwrap();
    let want = [(Unreadable, "server.pem".into()), (Unreadable, "server-key.pem".into())];
    assert_eq!(scene.kinds(), want);
}

#[test]
fn settings_have_to_go_together() {
    let mut scene = Scene::new();
    scene.settings.client_certificate = ClientCertificate::Optional;
    assert!(scene.mistakes()[0].2.contains("client_ca does not say"));
    scene.settings.client_certificate = ClientCertificate::Off;
    scene.settings.client_ca = Some(scene.dir.path().join("server.pem"));
    assert!(scene.mistakes()[0].2.contains("client_certificate is off"));
}

#[test]
fn a_key_that_everybody_can_read_is_a_warning() {
    let scene = Scene::new();
    fs::set_permissions(&scene.settings.key, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = load(&scene.settings).unwrap().warnings;
    let kinds: Vec<_> =
        warnings.iter().map(|warning| (warning.kind, warning.is_warning())).collect();
    assert_eq!(kinds, [(TlsMistakeKind::KeyExposed, true)]);
}
