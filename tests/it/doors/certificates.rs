//! Certificates that end: who is told before, when it happens, and that a new one mends it.

use super::house::{House, owner};
use crate::broker::{Folder, crossdock};
use crate::metrics;
use crate::wire::eventually;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate that signed itself and is valid for this time, and its key; when it ends, in seconds since 1970.
fn certificate(folder: &Folder, name: &str, valid: Duration) -> u64 {
    let now = SystemTime::now();
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.not_before = (now - DAY).into();
    params.not_after = (now + valid).into();
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    folder.write(&format!("{name}.pem"), &made.pem());
    let file = folder.write(&format!("{name}-key.pem"), &key.serialize_pem());
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("ours");
    (now + valid).duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn listener(name: &str) -> String {
    format!(
        "[listeners.secure]\nbind = \"127.0.0.1:0\"\nprotocols = [\"mqtt\"]\n\
         tls_certificate = \"{name}.pem\"\ntls_key = \"{name}-key.pem\"\n\
         tls_client_ca = \"authority.pem\"\n{}",
        owner("ann")
    )
}

/// Exit code and screen of `crossdock status`.
fn status(house: &House) -> (Option<i32>, String) {
    let data = house.broker.data_dir();
    let words = ["status", "--seconds", "0", "--data-dir", &data.to_string_lossy()];
    let output = crossdock(&words).output().expect("the binary is there");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn check(folder: &Folder, text: &str) -> (Option<i32>, String) {
    let file = folder.write("checked.toml", text);
    let output = crossdock(&["check-config", &file.to_string_lossy()]).output();
    let output = output.expect("the binary is there");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// When the certificate of that file ends, by the metrics.
fn ends(house: &House, file: &str) -> Option<f64> {
    let page = metrics::get(metrics::address(&house.broker), "/metrics").body;
    let file = house.path().join(file);
    let labels = format!("{{listener=\"secure\",file=\"{}\"}}", file.display());
    metrics::value(&page, &format!("crossdock_certificate_expires_timestamp_seconds{labels}"))
}

/// It is warned about before it ends, wherever operators look; when it ends it is trouble; a new one mends that.
#[test]
fn a_certificate_that_ends_is_told_before_and_after() {
    let folder = Folder::new();
    let long = certificate(&folder, "long", 400 * DAY);
    let authority = certificate(&folder, "authority", 5 * DAY);
    let (code, said) = check(&folder, &listener("long"));
    assert_eq!(code, Some(0), "{said}");
    let warning = said.lines().find(|line| line.starts_with("warning: ")).unwrap_or_default();
    assert!(warning.contains("checked.toml:6:") && warning.contains("tls_client_ca"), "{said}");
    assert!(warning.contains("authority.pem: its certificate no. 1 expires on "), "{said}");
    assert!(!said.contains("long.pem"), "that one has time: {said}");

    let short = certificate(&folder, "short", Duration::from_secs(8));
    let house = House::open_in(folder, &listener("short"));
    let (code, screen) = status(&house);
    assert_eq!(code, Some(0), "{screen}");
    for file in ["short.pem", "authority.pem"] {
        let told = screen.lines().any(|line| {
            line.starts_with("  - listener secure: ")
                && line.contains(&format!("{file}: its certificate no. 1 expires on 20"))
                && line.contains("SIGHUP")
        });
        assert!(told, "{file}: {screen}");
    }
    assert_eq!(ends(&house, "short.pem"), Some(short as f64));
    assert_eq!(ends(&house, "authority.pem"), Some(authority as f64));
    let log = house.broker.log();
    assert_eq!(log.matches("a certificate of a listener expires soon").count(), 2, "{log}");

    let screen = eventually("the end of the certificate", || {
        let (code, screen) = status(&house);
        (code == Some(1)).then_some(screen)
    });
    let trouble = screen.lines().find(|line| line.starts_with("  ! ")).unwrap_or_default();
    assert!(trouble.contains("listener secure: ") && trouble.contains("short.pem"), "{screen}");
    assert!(
        trouble.contains(" expired on ") && trouble.contains("crossdock ctl reload"),
        "{screen}"
    );
    eventually("a line in the log", || {
        house.broker.log().contains("a certificate of a listener has expired").then_some(())
    });

    for name in ["", "-key"] {
        let file = |which: &str| house.path().join(format!("{which}{name}.pem"));
        fs::copy(file("long"), file("short")).expect("ours");
    }
    let data = house.broker.data_dir();
    let reload = || {
        let words = ["ctl", "reload", "--data-dir", &data.to_string_lossy()];
        let output = crossdock(&words).output().expect("the binary is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = reload();
    assert!(told.contains(": 1 changes\n"), "{told}");
    assert!(told.contains("certificate of listener 'secure' is changed"), "{told}");
    assert!(reload().contains(": 0 changes\n"), "the second time there is nothing new");
    let log = house.broker.log();
    assert!(log.contains("the certificate is read again"), "{log}");
    let (code, screen) = status(&house);
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("short.pem") && screen.contains("authority.pem"), "{screen}");
    assert_eq!(ends(&house, "short.pem"), Some(long as f64));
}
