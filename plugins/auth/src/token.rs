//! Tokens: a JWT (RFC 7519) in the place of a password, as RabbitMQ's clients send it. What a token may say is
//! decided by the key that signed it and by [`TokenRules`]; what the login then may do is not decided here. The keys
//! are read in [`keys`], from files only: a token that says where its key is to be fetched (`jku`, `x5u`, `jwk`) is
//! not listened to.
//!
//! A key has one algorithm, and a token is checked only with keys of the algorithm that it names. So no public key is
//! ever taken for a secret, and `none` is no algorithm. Checking takes some microseconds (HS256, RS256) to about 100
//! (ES256, EdDSA), so it needs no line and no cache; back-off is `Verifier::admit` and `Verifier::note`.

mod keys;
#[cfg(test)]
mod token_tests;

pub use keys::{TokenFiles, TokenKeys};

use crossdock_core::{Error, ErrorKind, Name, Secret};
use jsonwebtoken::errors::ErrorKind as Fault;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What a token has to say, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// The `iss` that a token has to have. None: any or none.
    pub issuer: Option<String>,
    /// What a token's `aud` has to be, or to contain. None: any or none.
    pub audience: Option<String>,
    /// The claim that names the user. Default: `sub`.
    pub user_claim: String,
    /// The claim that has the scopes: words with spaces between them, or a list. Default: `scope`.
    pub scope_claim: String,
    /// Scopes without this in front are not for us; it is taken away from the others. Default: nothing, all are ours.
    pub scope_prefix: String,
    /// By how much the clock of the issuer may differ from ours. Default: 30 seconds.
    pub leeway: Duration,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            user_claim: "sub".to_owned(),
            scope_claim: "scope".to_owned(),
            scope_prefix: String::new(),
            leeway: Duration::from_secs(30),
        }
    }
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLogin {
    pub user: Name,
    /// From scopes `tag:NAME`, as RabbitMQ has them.
    pub tags: Vec<Name>,
    /// The other scopes that are for us, without the prefix.
    pub scopes: Vec<String>,
    /// When the login ends. The leeway is not in it.
    pub expires_at: SystemTime,
}

/// Why a token is refused. For the log: a client gets the same text as for a wrong password, see [`Error`]'s
/// `From`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is no signed token: {0}")]
    Malformed(&'static str),
    #[error("none of the keys has signed it")]
    NotSigned,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error("its issuer is another one")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("its claim {0} is missing or has not the right form")]
    Claim(String),
}

impl From<Refusal> for Error {
    fn from(_: Refusal) -> Self {
        Self::new(ErrorKind::Refused, crate::REFUSED)
    }
}

/// Whether a password has the form of a token: three parts with dots between them, the first one a JSON object in
/// base64.
pub fn is_token(password: &Secret) -> bool {
    let mut parts = password.0.split(|b| *b == b'.');
    let is_three = (0..3).all(|_| parts.next().is_some()) && parts.next().is_none();
    // `{"` in base64 is `eyJ`; with a space between them it is `eyA`.
    is_three && (password.0.starts_with(b"eyJ") || password.0.starts_with(b"eyA"))
}

impl TokenKeys {
    /// What a token says, if a key of ours has signed it and it is valid now.
    pub fn login(&self, token: &Secret, rules: &TokenRules) -> Result<TokenLogin, Refusal> {
        let claims = self.claims(&token.0, rules)?;
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let wrong = |claim: &str| Refusal::Claim(claim.to_owned());
        let user = text(&rules.user_claim).filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| wrong(&rules.user_claim))?;
        let expires_at = claims.get("exp").and_then(time).ok_or_else(|| wrong("exp"))?;
        let scopes = match claims.get(&rules.scope_claim) {
            None => Vec::new(),
            Some(scopes) => words(scopes).ok_or_else(|| wrong(&rules.scope_claim))?,
        };
        let ours = scopes.into_iter().filter_map(|scope| scope.strip_prefix(&*rules.scope_prefix));
        let (tags, scopes): (Vec<&str>, Vec<&str>) =
            ours.partition(|scope| scope.starts_with("tag:"));
        Ok(TokenLogin {
            user: Name::from(user),
            tags: tags.iter().filter_map(|tag| tag.strip_prefix("tag:")).map(Name::from).collect(),
            scopes: scopes.into_iter().map(str::to_owned).collect(),
            expires_at,
        })
    }

    /// The claims of a token whose signature, times, issuer and audience are right.
    fn claims(&self, token: &[u8], rules: &TokenRules) -> Result<Map<String, Value>, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed("it is too long"));
        }
        // Fails for `none`, which is not among the algorithms.
        let header = decode_header(token).map_err(|_| Refusal::Malformed("its header"))?;
        // RFC 7515 §4.1.11: we understand no extension.
        if header.crit.is_some() {
            return Err(Refusal::Malformed("it has extensions that must be understood"));
        }
        let mut validation = Validation::new(header.alg);
        validation.leeway = rules.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &rules.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match &rules.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        for key in self.candidates(header.alg, header.kid.as_deref()) {
            match decode::<Map<String, Value>>(token, key, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => match error.kind() {
                    Fault::InvalidSignature => {}
                    fault => return Err(refusal(fault)),
                },
            }
        }
        Err(Refusal::NotSigned)
    }
}

fn refusal(fault: &Fault) -> Refusal {
    match fault {
        Fault::ExpiredSignature => Refusal::Expired,
        Fault::ImmatureSignature => Refusal::NotYet,
        Fault::InvalidIssuer => Refusal::Issuer,
        Fault::InvalidAudience => Refusal::Audience,
        Fault::MissingRequiredClaim(claim) | Fault::InvalidClaimFormat(claim) => {
            Refusal::Claim(claim.to_string())
        }
        Fault::Base64(_) | Fault::Utf8(_) | Fault::Json(_) => Refusal::Malformed("its claims"),
        _ => Refusal::NotSigned,
    }
}

/// RFC 7519 §2, NumericDate: seconds since 1970, with or without a fraction.
fn time(value: &Value) -> Option<SystemTime> {
    let seconds = value.as_f64()?;
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// The scopes of a claim.
fn words(claim: &Value) -> Option<Vec<&str>> {
    match claim {
        Value::String(text) => Some(text.split_ascii_whitespace().collect()),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}
