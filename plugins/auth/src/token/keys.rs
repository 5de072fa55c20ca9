//! The keys that tokens are checked with: each with the one algorithm that it is for.

use crossdock_core::{Error, ErrorKind, Secret};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest key file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most keys.
const KEYS_MAX: usize = 64;
/// Shortest secret of HS256, in bytes (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Shortest modulus of an RSA key, in bytes: 2,048 bits (RFC 7518 §3.3).
const MODULUS_BYTES_MIN: usize = 256;
/// Bytes of a point of P-256 that is not compressed.
const P256_POINT_BYTES: usize = 65;

/// Where the keys are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFiles {
    /// Secrets of HS256: all bytes of a file but a line's end at its end, at least 32. Nobody but the owner and the
    /// group may read them.
    pub secrets: Vec<PathBuf>,
    /// A secret of HS256 that is no file's, and what tells where it came from.
    pub secret: Option<(String, Secret)>,
    /// Public keys in PEM form: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.
    pub public_keys: Vec<PathBuf>,
    /// Sets of public keys in JSON form (JWKS, RFC 7517).
    pub key_sets: Vec<PathBuf>,
}

/// The keys whose tokens are taken.
#[derive(Clone)]
pub struct TokenKeys {
    keys: Vec<TokenKey>,
}

#[derive(Clone)]
struct TokenKey {
    algorithm: Algorithm,
    /// The `kid` of a set's key.
    id: Option<String>,
    key: DecodingKey,
}

impl TokenKeys {
    /// Reads all files, and reports every mistake in them, each with the file's path.
    pub fn load(files: &TokenFiles) -> Result<Self, Vec<Error>> {
        let (mut keys, mut mistakes) = (Vec::new(), Vec::new());
        let secrets = files.secrets.iter().map(|path| (path, secret as Reader));
        let public_keys = files.public_keys.iter().map(|path| (path, public_key as Reader));
        let key_sets = files.key_sets.iter().map(|path| (path, key_set as Reader));
        for (path, reader) in secrets.chain(public_keys).chain(key_sets) {
            match contents(path).and_then(|contents| reader(path, &contents)) {
                Ok(read) => keys.extend(read),
                Err(why) => mistakes.push(format!("{}: {why}", path.display())),
            }
        }
        if let Some((origin, Secret(text))) = &files.secret {
            match secret_of(text) {
                Ok(read) => keys.push(read),
                Err(why) => mistakes.push(format!("{origin}: {why}")),
            }
        }
        if keys.is_empty() && mistakes.is_empty() {
            mistakes.push("no file of token keys is named: no token could be checked".to_owned());
        }
        if keys.len() > KEYS_MAX {
            mistakes.push(format!("there are {} token keys: the most is {KEYS_MAX}", keys.len()));
        }
        match mistakes.is_empty() {
            true => Ok(Self { keys }),
            false => {
                Err(mistakes.into_iter().map(|why| Error::new(ErrorKind::Invalid, why)).collect())
            }
        }
    }

    /// The keys that a token with this algorithm and `kid` may be signed with.
    pub(super) fn candidates(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> impl Iterator<Item = &DecodingKey> {
        let may_be = move |key: &&TokenKey| {
            let is_other = key.id.as_deref().zip(id).is_some_and(|(ours, named)| ours != named);
            key.algorithm == algorithm && !is_other
        };
        self.keys.iter().filter(may_be).map(|key| &key.key)
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.keys.iter().map(|key| (key.algorithm, key.id.as_deref()));
        f.debug_list().entries(shown).finish()
    }
}

/// Reads the keys of one file's contents; says what is wrong with it.
type Reader = fn(&Path, &[u8]) -> Result<Vec<TokenKey>, String>;

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |why: std::io::Error| format!("the file cannot be read: {why}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut contents = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut contents).map_err(unreadable)?;
    match contents.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("the file is longer than {FILE_BYTES_MAX} bytes")),
        false => Ok(contents),
    }
}

fn secret(path: &Path, contents: &[u8]) -> Result<Vec<TokenKey>, String> {
    if is_open_to_others(path) {
        return Err("every user of the machine may read or write this secret: chmod 600".to_owned());
    }
    secret_of(contents).map(|key| vec![key])
}

fn secret_of(contents: &[u8]) -> Result<TokenKey, String> {
    let secret = contents.strip_suffix(b"\n").unwrap_or(contents);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    // A public key that is taken for a secret lets everybody sign.
    if secret.starts_with(b"-----BEGIN") {
        return Err("this is a key in PEM form and no secret of HS256".to_owned());
    }
    if secret.len() < SECRET_BYTES_MIN {
        let bytes = secret.len();
        return Err(format!(
            "the secret has {bytes} bytes: HS256 wants at least {SECRET_BYTES_MIN}"
        ));
    }
    let key = DecodingKey::from_secret(secret).map_err(|why| why.to_string())?;
    Ok(TokenKey { algorithm: Algorithm::HS256, id: None, key })
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

fn public_key(_: &Path, contents: &[u8]) -> Result<Vec<TokenKey>, String> {
    let is_there = |text: &[u8]| contents.windows(text.len()).any(|window| window == text);
    if is_there(b"PRIVATE KEY-----") {
        return Err("this is a private key: only the public one belongs here".to_owned());
    }
    let rsa = || Some((Algorithm::RS256, DecodingKey::from_rsa_pem(contents).ok()?));
    let ec = || Some((Algorithm::ES256, DecodingKey::from_ec_pem(contents).ok()?));
    let ed = || Some((Algorithm::EdDSA, DecodingKey::from_ed_pem(contents).ok()?));
    let (algorithm, key) = rsa()
        .or_else(ec)
        .or_else(ed)
        .ok_or_else(|| "this is no public key in PEM form of RSA, P-256 or Ed25519".to_owned())?;
    Ok(vec![TokenKey { algorithm, id: None, key: checked(algorithm, key)? }])
}

/// Refuses keys that are too short, and those of another curve than the algorithm's.
fn checked(algorithm: Algorithm, key: DecodingKey) -> Result<DecodingKey, String> {
    let bytes = match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => bytes.len(),
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.len(),
    };
    match algorithm {
        // The DER form of a key is some bytes longer than its modulus.
        Algorithm::RS256 if bytes < MODULUS_BYTES_MIN => {
            Err("the RSA key is shorter than 2,048 bits".to_owned())
        }
        Algorithm::ES256 if bytes != P256_POINT_BYTES => {
            Err("the key is of another curve than P-256".to_owned())
        }
        _ => Ok(key),
    }
}

fn key_set(_: &Path, contents: &[u8]) -> Result<Vec<TokenKey>, String> {
    let set: Value =
        serde_json::from_slice(contents).map_err(|why| format!("this is no JSON: {why}"))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("this is no key set: it has no list `keys`")?;
    let mut usable = Vec::new();
    for (key, number) in keys.iter().zip(1..) {
        if key.get("kty").and_then(Value::as_str) == Some("oct") {
            return Err(format!("key {number} is a secret: secrets have files of their own"));
        }
        if key.get("d").is_some() {
            return Err(format!("key {number} is a private key: only public ones belong here"));
        }
        usable.extend(key_of_set(key).map_err(|why| format!("key {number}: {why}"))?);
    }
    match usable.is_empty() {
        true => Err("no key of the set is for RS256, ES256 or EdDSA".to_owned()),
        false => Ok(usable),
    }
}

/// A key of a set. None: it is for something else, and RFC 7517 §5 says that such keys are passed over.
fn key_of_set(value: &Value) -> Result<Option<TokenKey>, String> {
    let Ok(jwk) = serde_json::from_value::<Jwk>(value.clone()) else { return Ok(None) };
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return Ok(None),
    };
    let is_to_sign = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    if !is_to_sign || jwk.common.key_algorithm.is_some_and(|other| other != named) {
        return Ok(None);
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|why| why.to_string())?;
    Ok(Some(TokenKey { algorithm, id: jwk.common.key_id, key: checked(algorithm, key)? }))
}
