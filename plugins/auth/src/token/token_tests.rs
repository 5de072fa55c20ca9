//! Tokens as issuers make them, and as attackers do, with keys of their own.

use super::*;
use crate::keyed::keyed;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac::Mac;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use sha2::Sha256;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const SECRET: &str = "a secret of more than thirty-two bytes";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "crossdock-token-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, contents).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Both halves of a key.
struct Pair {
    algorithm: Algorithm,
    signs: EncodingKey,
    public_pem: String,
    private_pem: String,
}

fn pair(algorithm: Algorithm, private_pem: &str, public_pem: &str) -> Pair {
    let read = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem,
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem,
        _ => EncodingKey::from_ed_pem,
    };
    let signs = read(private_pem.as_bytes()).expect("a key");
    let (public_pem, private_pem) = (public_pem.to_owned(), private_pem.to_owned());
    Pair { algorithm, signs, public_pem, private_pem }
}

/// Keys of RSA take long to make, so these two are files. They protect nothing.
fn rsa(which: usize) -> Pair {
    let keys = [
        (include_str!("test-keys/rsa-one.pem"), include_str!("test-keys/rsa-one-public.pem")),
        (include_str!("test-keys/rsa-two.pem"), include_str!("test-keys/rsa-two-public.pem")),
    ];
    let (private, public) = keys[which];
    pair(Algorithm::RS256, private, public)
}

fn made(algorithm: Algorithm, kind: &'static rcgen::SignatureAlgorithm) -> Pair {
    let key = rcgen::KeyPair::generate_for(kind).expect("a key");
    pair(algorithm, &key.serialize_pem(), &key.public_key_pem())
}

fn ec(curve: Algorithm) -> Pair {
    match curve {
        Algorithm::ES256 => made(curve, &rcgen::PKCS_ECDSA_P256_SHA256),
        _ => made(curve, &rcgen::PKCS_ECDSA_P384_SHA384),
    }
}

fn ed() -> Pair {
    made(Algorithm::EdDSA, &rcgen::PKCS_ED25519)
}

/// Seconds since 1970, so many from now.
fn from_now(seconds: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(since).expect("small") + seconds
}

fn claims() -> Value {
    json!({"sub": "ann", "exp": from_now(60), "iss": "house", "aud": ["other", "crossdock"],
           "scope": "read:*/* tag:administrator write:a/b"})
}

fn with(change: Value) -> Value {
    let mut claims = claims();
    for (claim, value) in change.as_object().expect("an object") {
        match value.is_null() {
            true => claims.as_object_mut().expect("an object").remove(claim),
            false => {
                claims.as_object_mut().expect("an object").insert(claim.clone(), value.clone())
            }
        };
    }
    claims
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> Secret {
    Secret(Bytes::from(encode(&Header::new(algorithm), claims, key).expect("a token")))
}

fn secret_key(text: &str) -> EncodingKey {
    EncodingKey::from_secret(text.as_bytes()).expect("a key")
}

fn hs256(claims: &Value) -> Secret {
    signed(Algorithm::HS256, &secret_key(SECRET), claims)
}

fn rules() -> TokenRules {
    let (issuer, audience) = (Some("house".to_owned()), Some("crossdock".to_owned()));
    TokenRules { issuer, audience, ..TokenRules::default() }
}

fn secret_keys() -> TokenKeys {
    let folder = Folder::new();
    let secrets = vec![folder.file("secret", format!("{SECRET}\n"))];
    TokenKeys::load(&TokenFiles { secrets, ..TokenFiles::default() }).expect("keys")
}

#[test]
fn a_valid_token_says_who_it_is_until_when_and_what_for() {
    let claims = claims();
    let login = secret_keys().login(&hs256(&claims), &rules()).expect("a login");
    assert_eq!(&*login.user, "ann");
    assert_eq!(login.tags, [Name::from("administrator")]);
    assert_eq!(login.scopes, ["read:*/*", "write:a/b"]);
    let expires = Duration::from_secs(claims["exp"].as_u64().expect("seconds"));
    assert_eq!(login.expires_at, UNIX_EPOCH + expires);
}

#[test]
fn claims_and_scopes_are_where_the_rules_say() {
    let claims =
        with(json!({"preferred": "bob", "roles": ["mq.tag:monitoring", "mq.read:a", "x.b"]}));
    let rules = TokenRules {
        user_claim: "preferred".to_owned(),
        scope_claim: "roles".to_owned(),
        scope_prefix: "mq.".to_owned(),
        ..TokenRules::default()
    };
    let login = secret_keys().login(&hs256(&claims), &rules).expect("a login");
    assert_eq!(&*login.user, "bob");
    assert_eq!(login.tags, [Name::from("monitoring")]);
    assert_eq!(login.scopes, ["read:a"]);
}

#[test]
fn a_token_that_breaks_a_rule_is_refused_with_the_reason() {
    let claim = |name: &str| Refusal::Claim(name.to_owned());
    for (change, refusal) in [
        (json!({"exp": from_now(-40)}), Some(Refusal::Expired)),
        (json!({"exp": from_now(-20)}), None),
        (json!({"exp": null}), Some(claim("exp"))),
        (json!({"exp": 1e300}), Some(claim("exp"))),
        (json!({"nbf": from_now(40)}), Some(Refusal::NotYet)),
        (json!({"nbf": from_now(20)}), None),
        (json!({"iss": "other"}), Some(Refusal::Issuer)),
        (json!({"iss": null}), Some(claim("iss"))),
        (json!({"aud": "other"}), Some(Refusal::Audience)),
        (json!({"aud": "crossdock"}), None),
        (json!({"aud": null}), Some(claim("aud"))),
        (json!({"sub": null}), Some(claim("sub"))),
        (json!({"sub": ""}), Some(claim("sub"))),
        (json!({"sub": 7}), Some(claim("sub"))),
        (json!({"scope": null}), None),
        (json!({"scope": 7}), Some(claim("scope"))),
        (json!({"scope": ["a", 7]}), Some(claim("scope"))),
    ] {
        let login = secret_keys().login(&hs256(&with(change.clone())), &rules());
        assert_eq!(login.err(), refusal, "{change}");
    }
    let text = hs256(&with(json!({"exp": "tomorrow"})));
    assert!(secret_keys().login(&text, &rules()).is_err());
}

#[test]
fn every_kind_of_public_key_checks_its_tokens_and_no_other_ones() {
    let folder = Folder::new();
    let pairs = [rsa(0), ec(Algorithm::ES256), ed()];
    let others = [rsa(1), ec(Algorithm::ES256), ed()];
    let named = pairs.iter().zip(["rsa", "ec", "ed"]);
    let public_keys = named.map(|(pair, name)| folder.file(name, &pair.public_pem)).collect();
    let keys = TokenKeys::load(&TokenFiles { public_keys, ..TokenFiles::default() }).expect("keys");
    for (pair, other) in pairs.iter().zip(&others) {
        let token = |pair: &Pair| signed(pair.algorithm, &pair.signs, &claims());
        assert!(keys.login(&token(pair), &rules()).is_ok(), "{:?}", pair.algorithm);
        assert_eq!(keys.login(&token(other), &rules()), Err(Refusal::NotSigned));
        // Signed with the text of the public key, which everybody has.
        let known = secret_key(&pair.public_pem);
        let forged = signed(Algorithm::HS256, &known, &claims());
        assert_eq!(keys.login(&forged, &rules()), Err(Refusal::NotSigned));
    }
}

#[test]
fn a_token_without_a_signature_or_with_a_changed_part_is_refused() {
    let keys = secret_keys();
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", "HS257"] {
        let header = part(json!({"alg": alg, "typ": "JWT"}));
        for signature in ["", "AAAA"] {
            let token = Secret(Bytes::from(format!("{header}.{}.{signature}", part(claims()))));
            let refused = keys.login(&token, &rules());
            assert_eq!(refused, Err(Refusal::Malformed("its header")), "{alg}");
        }
    }
    let token = hs256(&claims());
    let parts: Vec<&str> = std::str::from_utf8(&token.0).expect("ASCII").split('.').collect();
    let admin = part(with(json!({"sub": "admin"})));
    let changed = format!("{}.{admin}.{}", parts[0], parts[2]);
    assert_eq!(keys.login(&Secret(Bytes::from(changed)), &rules()), Err(Refusal::NotSigned));
    for at in 0..token.0.len() {
        assert!(keys.login(&Secret(token.0.slice(..at)), &rules()).is_err(), "cut at {at}");
    }
    let long = Secret(Bytes::from(vec![b'a'; TOKEN_BYTES_MAX + 1]));
    assert_eq!(keys.login(&long, &rules()), Err(Refusal::Malformed("it is too long")));
    // Signed as it has to be, and with extensions that nobody knows, or that JWTs may not have.
    for crit in [json!(["new"]), json!(["b64"]), json!([])] {
        let header = part(json!({"alg": "HS256", "crit": crit, "b64": true, "new": 1}));
        let message = format!("{header}.{}", part(claims()));
        let mac = keyed::<Sha256>(SECRET.as_bytes()).chain_update(&message).finalize();
        let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.into_bytes());
        let token = Secret(Bytes::from(format!("{message}.{signature}")));
        assert!(matches!(keys.login(&token, &rules()), Err(Refusal::Malformed(_))), "{crit}");
    }
}

/// The public half of a P-256 key as a key of a set.
fn jwk(pair: &Pair, id: &str) -> Value {
    let text: String = pair.public_pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(text).expect("base64");
    let (x, y) = der[der.len() - 64..].split_at(32);
    let [x, y] = [x, y].map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes));
    json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": x, "y": y})
}

#[test]
fn the_keys_of_a_set_are_told_apart_by_their_ids_and_foreign_ones_are_passed_over() {
    let folder = Folder::new();
    let (one, two) = (ec(Algorithm::ES256), ec(Algorithm::ES256));
    let mut to_encrypt = jwk(&two, "three");
    to_encrypt["use"] = json!("enc");
    let mut for_another = jwk(&two, "four");
    for_another["alg"] = json!("ES384");
    let set = json!({"keys": [jwk(&one, "one"), jwk(&two, "two"), to_encrypt, for_another,
                              {"kty": "new", "kid": "five"}]});
    let key_sets = vec![folder.file("set", set.to_string())];
    let keys = TokenKeys::load(&TokenFiles { key_sets, ..TokenFiles::default() }).expect("keys");
    assert_eq!(format!("{keys:?}"), "[(ES256, Some(\"one\")), (ES256, Some(\"two\"))]");
    let login = |pair: &Pair, id: Option<&str>| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(str::to_owned);
        let token = encode(&header, &claims(), &pair.signs).expect("a token");
        keys.login(&Secret(Bytes::from(token)), &rules()).is_ok()
    };
    assert!(login(&one, Some("one")) && login(&two, Some("two")) && login(&two, None));
    assert!(!login(&one, Some("two")) && !login(&one, Some("six")));
}

#[test]
fn every_mistake_in_the_files_is_reported_with_its_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let (good, wrong_curve) = (ec(Algorithm::ES256), ec(Algorithm::ES384));
    let open = folder.file("open", SECRET);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let mut private = jwk(&good, "a");
    private["d"] = json!("AAAA");
    let set = |keys: Value| json!({"keys": keys}).to_string();
    let files = TokenFiles {
        secret: None,
        secrets: vec![
            open,
            folder.file("short", "too short"),
            folder.file("pem", &good.public_pem),
            folder.0.join("missing"),
        ],
        public_keys: vec![
            folder.file("good", &good.public_pem),
            folder.file("private", &good.private_pem),
            folder.file("curve", &wrong_curve.public_pem),
            folder.file("text", "no key"),
            folder.file("long", vec![b'x'; 1024 * 1024 + 1]),
        ],
        key_sets: vec![
            folder.file("json", "{"),
            folder.file("list", "[]"),
            folder.file("none", set(json!([{"kty": "new"}]))),
            folder.file(
                "oct",
                set(json!([{"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(SECRET)}])),
            ),
            folder.file("d", set(json!([private]))),
            folder.file("weak", set(json!([{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]))),
        ],
    };
    let mistakes = TokenKeys::load(&files).expect_err("mistakes");
    let expected = [
        ("open", "chmod 600"),
        ("short", "has 9 bytes"),
        ("pem", "PEM form and no secret"),
        ("missing", "cannot be read"),
        ("private", "private key"),
        ("curve", "another curve"),
        ("text", "no public key"),
        ("long", "longer than"),
        ("json", "no JSON"),
        ("list", "no list"),
        ("none", "no key of the set"),
        ("oct", "key 1 is a secret"),
        ("d", "key 1 is a private key"),
        ("weak", "shorter than 2,048"),
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:?}");
    for (mistake, (file, why)) in mistakes.iter().zip(expected) {
        let text = mistake.detail();
        assert!(text.contains(&format!("/{file}: ")) && text.contains(why), "{file}: {text}");
        assert!(!text.contains(SECRET));
    }
    let none = TokenKeys::load(&TokenFiles::default()).expect_err("no keys");
    assert!(none[0].detail().contains("no file"), "{none:?}");
}

#[test]
fn what_has_a_tokens_form_is_told_from_a_password() {
    assert!(is_token(&hs256(&claims())));
    for password in ["", "guest", "a.b.c", "eyJ", "eyJ.a", "eyJ.a.b.c"] {
        assert!(!is_token(&Secret(Bytes::from_static(password.as_bytes()))), "{password}");
    }
}

#[test]
fn a_client_is_told_what_it_is_told_of_a_wrong_password() {
    let error = Error::from(Refusal::Expired);
    assert_eq!((error.kind(), error.detail()), (ErrorKind::Refused, "login was refused"));
}

#[test]
fn keys_print_no_secret() {
    assert_eq!(format!("{:?}", secret_keys()), "[(HS256, None)]");
}
