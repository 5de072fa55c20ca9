//! What strangers send, and files that were damaged, are read or refused: nothing panics, and what is read is what was
//! written.

use bytes::Bytes;
use crossdock_auth::import::{acl_file, definitions, password_file};
use crossdock_auth::scram::Mechanism;
use crossdock_auth::scram::exchange::{ClientFirst, Server};
use crossdock_auth::token::is_token;
use crossdock_auth::{PasswordHash, ProcessKey, ScramKeys, TokenFiles, TokenKeys, TokenRules};
use crossdock_core::Secret;
use proptest::prelude::*;

const ARGON2: &str =
    "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
const MOSQUITTO: &str = "$7$101$c29tZXNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
                         AAAAAAAAAAAAAAAAAAAAAAA==";
const RABBITMQ: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
const DEFINITIONS: &str = r#"{"users": [{"name": "ann", "password_hash": "", "tags": "a,b",
    "limits": {"max-channels": 3}}], "permissions": [{"user": "ann", "vhost": "/", "configure": ".*",
    "write": "", "read": ""}], "topic_permissions": []}"#;
const ACL: &str = "topic read a/#\nuser ann\ntopic deny x y\npattern write up/%u/%c\n";

fn scram_text() -> String {
    let keys = ScramKeys::make(Mechanism::Sha256, &Secret(Bytes::from_static(b"pencil")));
    keys.expect("keys").text()
}

/// Gives everything to everybody.
fn read(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(hash) = PasswordHash::parse(&text) {
        assert_eq!(hash.text(), text);
    }
    if let Ok(keys) = ScramKeys::parse(&text) {
        assert_eq!(ScramKeys::parse(&keys.text()).expect("its own text"), keys);
    }
    let key = ProcessKey::new(&[1; 32]);
    let first = ClientFirst::parse(input);
    let valid = ClientFirst::parse(b"n,,n=user,r=abc").expect("valid");
    for first in first.into_iter().chain([valid]) {
        let (server, _) = Server::challenge(Mechanism::Sha256, first, None, &key).expect("random");
        assert!(server.finish(input).is_err());
    }
    let _ = (password_file(input), acl_file(input), definitions(input));
}

#[test]
fn damaged_input_is_read_or_refused() {
    let scram = scram_text();
    let seeds =
        [ARGON2, MOSQUITTO, RABBITMQ, &scram, "y,a=user,n=user,r=abc,x=y", DEFINITIONS, ACL];
    for seed in seeds {
        for at in 0..seed.len() {
            read(&seed.as_bytes()[..at]);
            for changed in [0, b'$', b',', b'=', b'9', b'"', 0xff] {
                let mut input = seed.as_bytes().to_vec();
                input[at] = changed;
                read(&input);
            }
        }
    }
}

#[test]
fn no_noise_is_a_token() {
    let secret = std::env::temp_dir().join(format!("crossdock-noise-{}", std::process::id()));
    std::fs::write(&secret, "a secret of more than thirty-two bytes").expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&secret, mode).expect("a mode");
    }
    let files = TokenFiles { secrets: vec![secret.clone()], ..TokenFiles::default() };
    let keys = TokenKeys::load(&files).expect("keys");
    std::fs::remove_file(&secret).expect("removed");
    let rules = TokenRules::default();
    let noise = proptest::collection::vec(any::<u8>(), 0..200);
    let parts = "(eyJ[A-Za-z0-9_-]{0,40}\\.?){0,4}";
    proptest!(|(noise in noise, parts in parts)| {
        read(&noise);
        for input in [Bytes::from(noise), Bytes::from(parts)] {
            let input = Secret(input);
            prop_assert!(keys.login(&input, &rules).is_err());
            let _ = is_token(&input);
        }
    });
}
