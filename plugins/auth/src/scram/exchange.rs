//! The server's side of a SCRAM exchange (RFC 5802 §5), as a state machine that does no input or output:
//!
//! ```text
//! client-first ─► ClientFirst::parse ─► .user() ─► (the caller looks for the user's keys)
//!              ─► Server::challenge ─► server-first
//! client-final ─► Server::finish ─► server-final, or a Failure with its `e=` reply
//! ```
//!
//! An unknown user is challenged like any other and refused at the end. Channel binding is not offered: the mechanisms'
//! `-PLUS` forms do not exist here, so `n` and `y` are taken and `p=` is refused (§6).

use super::{Mechanism, ScramKeys};
use crate::keyed::ProcessKey;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossdock_core::{Error, Name};
use std::fmt;
use subtle::ConstantTimeEq;

/// Longest message of a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_048;
/// Random bytes of our part of the nonce.
const NONCE_BYTES: usize = 18;

/// Why an exchange ends without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the message is not of SCRAM's form: {0}")]
    Malformed(&'static str),
    #[error("the user's name is not UTF-8 that SASLprep takes")]
    UserName,
    #[error("channel binding is not supported")]
    ChannelBinding,
    #[error("the repeated channel binding is not what the exchange began with")]
    ChannelBindingsDiffer,
    #[error("an extension that must be understood is not known")]
    Extension,
    #[error("the nonce is not the exchange's")]
    Nonce,
    #[error("nobody may act for another user")]
    ActsForAnother,
    /// A wrong password, or no such user: one answer for both.
    #[error("login was refused")]
    Refused,
}

impl Failure {
    /// The server-final message that tells the client (RFC 5802 §7, server-error).
    pub fn reply(self) -> &'static str {
        match self {
            Self::UserName => "e=invalid-username-encoding",
            Self::ChannelBinding => "e=channel-binding-not-supported",
            Self::ChannelBindingsDiffer => "e=channel-bindings-dont-match",
            Self::Extension => "e=extensions-not-supported",
            Self::Refused => "e=invalid-proof",
            Self::Malformed(_) | Self::Nonce | Self::ActsForAnother => "e=other-error",
        }
    }
}

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    user: Name,
    nonce: String,
    /// Up to and with the comma before `bare`: it is repeated in the client's last message.
    gs2_header: String,
    /// What the proof is about.
    bare: String,
}

impl ClientFirst {
    /// Reads `n,,n=user,r=nonce`.
    pub fn parse(message: &[u8]) -> Result<Self, Failure> {
        let message = text(message)?;
        let mut parts = message.splitn(3, ',');
        let (Some(binding), Some(acts_for), Some(bare)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Failure::Malformed("no GS2 header"));
        };
        // RFC 5802 §6: `y` says that the client could bind and thinks that we cannot, which is so.
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(Failure::ChannelBinding),
            _ => return Err(Failure::Malformed("no channel binding flag")),
        }
        let header_bytes = binding.len() + acts_for.len() + 2;
        let mut fields = bare.split(',');
        let user = match fields.next() {
            Some(field) if field.starts_with("m=") => return Err(Failure::Extension),
            field => field.and_then(|field| field.strip_prefix("n=")),
        };
        let user = saslname(user.ok_or(Failure::Malformed("no user name"))?)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(Failure::Malformed("no nonce"))?;
        match acts_for.strip_prefix("a=") {
            None if acts_for.is_empty() => {}
            None => return Err(Failure::Malformed("no authorisation identity")),
            Some(name) if saslname(name)? == user => {}
            Some(_) => return Err(Failure::ActsForAnother),
        }
        Ok(Self {
            user: Name::from(user),
            nonce: nonce.to_owned(),
            gs2_header: message.get(..header_bytes).unwrap_or_default().to_owned(),
            bare: bare.to_owned(),
        })
    }

    /// Who wants to log in, as SASLprep writes it.
    pub fn user(&self) -> &Name {
        &self.user
    }
}

/// An exchange in which the client has to prove itself.
pub struct Server {
    user: Name,
    keys: ScramKeys,
    is_known: bool,
    /// Both parts of it.
    nonce: String,
    gs2_header: String,
    /// client-first-message-bare, comma, server-first-message, comma (RFC 5802 §3, AuthMessage).
    before_final: String,
}

/// A login that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub user: Name,
    /// Proves to the client that we know its keys.
    pub server_final: String,
}

impl Server {
    /// Challenges a client: the exchange, and the server-first message. `known` are the user's keys for `mechanism`.
    /// With none, or with another mechanism's, the challenge is derived from `key` and nothing opens it.
    /// [`ErrorKind::Internal`](crossdock_core::ErrorKind::Internal): the system has no random bytes.
    pub fn challenge(
        mechanism: Mechanism,
        first: ClientFirst,
        known: Option<&ScramKeys>,
        key: &ProcessKey,
    ) -> Result<(Self, String), Error> {
        let mut ours = [0; NONCE_BYTES];
        crate::random(&mut ours)?;
        let known = known.filter(|keys| keys.mechanism == mechanism);
        // Made for known users, too: a challenge takes the same time for all.
        let decoy = ScramKeys::decoy(mechanism, &first.user, key);
        let is_known = known.is_some();
        let keys = known.cloned().unwrap_or(decoy);
        Ok(Self::with_nonce(first, keys, is_known, &BASE64_STANDARD.encode(ours)))
    }

    fn with_nonce(
        first: ClientFirst,
        keys: ScramKeys,
        is_known: bool,
        ours: &str,
    ) -> (Self, String) {
        let nonce = format!("{}{ours}", first.nonce);
        let salt = BASE64_STANDARD.encode(&keys.salt);
        let server_first = format!("r={nonce},s={salt},i={}", keys.iterations);
        let server = Self {
            user: first.user,
            keys,
            is_known,
            nonce,
            gs2_header: first.gs2_header,
            before_final: format!("{},{server_first},", first.bare),
        };
        (server, server_first)
    }

    /// Who wants to log in.
    pub fn user(&self) -> &Name {
        &self.user
    }

    /// Reads `c=…,r=…,p=…` and says whether it is the user.
    pub fn finish(self, client_final: &[u8]) -> Result<Finished, Failure> {
        let message = text(client_final)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(Failure::Malformed("no proof"))?;
        let mut fields = without_proof.split(',');
        let binding = match fields.next() {
            Some(field) if field.starts_with("m=") => return Err(Failure::Extension),
            field => field.and_then(|field| field.strip_prefix("c=")),
        };
        let binding = binding.ok_or(Failure::Malformed("no channel binding"))?;
        let binding = BASE64_STANDARD.decode(binding);
        let binding = binding.map_err(|_| Failure::Malformed("channel binding is not base64"))?;
        // RFC 5802 §6: `n` there and `y` here would be somebody in the middle.
        if binding != self.gs2_header.as_bytes() {
            return Err(Failure::ChannelBindingsDiffer);
        }
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        if nonce.ok_or(Failure::Malformed("no nonce"))? != self.nonce {
            return Err(Failure::Nonce);
        }
        let proof = BASE64_STANDARD.decode(proof);
        let proof = proof.map_err(|_| Failure::Malformed("proof is not base64"))?;
        let mechanism = self.keys.mechanism;
        if proof.len() != mechanism.bytes() {
            return Err(Failure::Malformed("proof has the length of another mechanism"));
        }
        let about = format!("{}{without_proof}", self.before_final);
        let signature = mechanism.hmac(&self.keys.stored, about.as_bytes());
        let client: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let is_right: bool = mechanism.hash(&client).ct_eq(&self.keys.stored).into();
        let ours = mechanism.hmac(&self.keys.server, about.as_bytes());
        match is_right && self.is_known {
            true => Ok(Finished {
                user: self.user,
                server_final: format!("v={}", BASE64_STANDARD.encode(ours)),
            }),
            false => Err(Failure::Refused),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({:?}, {:?})", self.user, self.keys)
    }
}

fn text(message: &[u8]) -> Result<&str, Failure> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(Failure::Malformed("it is too long"));
    }
    std::str::from_utf8(message).map_err(|_| Failure::UserName)
}

/// RFC 5802 §5.1: a name with `,` as `=2C` and `=` as `=3D`, and no other `=`.
fn saslname(written: &str) -> Result<String, Failure> {
    let mut pieces = written.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (sign, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::UserName),
        };
        name.push(sign);
        name.push_str(rest);
    }
    let name = stringprep::saslprep(&name).map_err(|_| Failure::UserName)?;
    match name.is_empty() {
        true => Err(Failure::Malformed("the user name is empty")),
        false => Ok(name.into_owned()),
    }
}

/// RFC 5802 §7: printable ASCII without a comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use crossdock_core::Secret;

    const SHA_512: &str = "SCRAM-SHA-512$4096:W22ZaJ0SNY7soEsUEjb6gQ==$6AAub3065EYRmyFpM2RNwqK+eGnrkYuEWbXn\
         19LsEmBqzu8QaCXNc1FwpnX9NhH2hK/60dzj9DoO5DvVkOHbvg==:jZHbYjC1aHh0/hKbxyBuGFjDrgj\
         gKTT1esA7awWiKcRZ0o/0b1yWEebBeSVkkCFewf91nLDfKF24mvD5nmE6rA==";

    fn secret(text: &str) -> Secret {
        Secret(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// What a client sends last.
    fn client_final(
        mechanism: Mechanism,
        first: &str,
        server_first: &str,
        password: &str,
    ) -> String {
        let field = |at: usize| server_first.split(',').nth(at).expect("a field");
        let salt = BASE64_STANDARD.decode(&field(1)[2..]).expect("base64");
        let iterations = field(2)[2..].parse().expect("a number");
        let bare = first.splitn(3, ',').nth(2).expect("the bare message");
        let header = BASE64_STANDARD.encode(&first[..first.len() - bare.len()]);
        let without_proof = format!("c={header},{}", field(0));
        let about = format!("{bare},{server_first},{without_proof}");
        let password = super::super::prepared(&secret(password));
        let salted = mechanism.stretched(&password, &salt, iterations);
        let client = mechanism.hmac(&salted, b"Client Key");
        let signature = mechanism.hmac(&mechanism.hash(&client), about.as_bytes());
        let proof: Vec<u8> = client.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        format!("{without_proof},p={}", BASE64_STANDARD.encode(proof))
    }

    fn key() -> ProcessKey {
        ProcessKey::new(&[9; 32])
    }

    /// An exchange of `first` up to the challenge, with keys of password `pencil`.
    fn challenged(mechanism: Mechanism, first: &str) -> (Server, String) {
        let keys = ScramKeys::derive(mechanism, &secret("pencil"), &[7; 16], 4096);
        let first = ClientFirst::parse(first.as_bytes()).expect("a first message");
        Server::challenge(mechanism, first, Some(&keys), &key()).expect("random bytes")
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_ours() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let keys = ScramKeys::derive(Mechanism::Sha256, &secret("pencil"), &salt, 4096);
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("a message");
        let ours = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (server, server_first) = Server::with_nonce(first, keys, true, ours);
        assert_eq!(
            server_first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let client_final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let finished = server.finish(client_final.as_bytes()).expect("a login");
        assert_eq!(&*finished.user, "user");
        assert_eq!(finished.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn the_keys_of_sha_512_are_those_of_another_implementation() {
        // Made with Python's hashlib and hmac: password `pencil`, the salt of RFC 7677, 4,096 iterations.
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let keys = ScramKeys::derive(Mechanism::Sha512, &secret("pencil"), &salt, 4096);
        assert_eq!(keys.text(), SHA_512);
    }

    #[test]
    fn the_right_password_opens_and_a_wrong_one_does_not() {
        for mechanism in [Mechanism::Sha256, Mechanism::Sha512] {
            for first in ["n,,n=user,r=abc", "y,,n=user,r=abc", "n,a=user,n=user,r=abc,x=y"] {
                let (server, server_first) = challenged(mechanism, first);
                let last = client_final(mechanism, first, &server_first, "pencil");
                let finished = server.finish(last.as_bytes()).expect("a login");
                assert!(finished.server_final.starts_with("v="));
                let (server, server_first) = challenged(mechanism, first);
                let last = client_final(mechanism, first, &server_first, "pen");
                assert_eq!(server.finish(last.as_bytes()), Err(Failure::Refused));
            }
        }
    }

    #[test]
    fn an_unknown_user_is_challenged_and_refused_like_a_wrong_password() {
        let first = "n,,n=nobody,r=abc";
        let parsed = || ClientFirst::parse(first.as_bytes()).expect("a message");
        let other = ScramKeys::derive(Mechanism::Sha512, &secret("pencil"), &[7; 16], 4096);
        for known in [None, Some(&other)] {
            let (server, server_first) =
                Server::challenge(Mechanism::Sha256, parsed(), known, &key()).expect("random");
            assert!(server_first.ends_with(",i=8192"), "{server_first}");
            let last = client_final(Mechanism::Sha256, first, &server_first, "pencil");
            assert_eq!(server.finish(last.as_bytes()), Err(Failure::Refused));
        }
    }

    #[test]
    fn an_answer_to_another_challenge_is_refused() {
        let first = "n,,n=user,r=abc";
        let (_, other_first) = challenged(Mechanism::Sha256, first);
        let last = client_final(Mechanism::Sha256, first, &other_first, "pencil");
        let (server, _) = challenged(Mechanism::Sha256, first);
        assert_eq!(server.finish(last.as_bytes()), Err(Failure::Nonce));
        // Kafka took any nonce that the proof was about (CVE-2024-56128).
        let (server, server_first) = challenged(Mechanism::Sha256, first);
        let forged = server_first.replace("r=abc", "r=abd");
        let last = client_final(Mechanism::Sha256, first, &forged, "pencil");
        assert_eq!(server.finish(last.as_bytes()), Err(Failure::Nonce));
        // A client that was told of fewer iterations proves something else.
        let (server, server_first) = challenged(Mechanism::Sha256, first);
        let fewer = server_first.replace("i=4096", "i=1");
        let last = client_final(Mechanism::Sha256, first, &fewer, "pencil");
        assert_eq!(server.finish(last.as_bytes()), Err(Failure::Refused));
    }

    #[test]
    fn a_changed_channel_binding_is_noticed() {
        let (server, server_first) = challenged(Mechanism::Sha256, "n,,n=user,r=abc");
        let last = client_final(Mechanism::Sha256, "y,,n=user,r=abc", &server_first, "pencil");
        let failure = server.finish(last.as_bytes()).expect_err("refused");
        assert_eq!(failure.reply(), "e=channel-bindings-dont-match");
    }

    #[test]
    fn first_messages_are_read_or_refused_with_the_reason() {
        let user =
            |text: &str| ClientFirst::parse(text.as_bytes()).map(|first| first.user.to_string());
        assert_eq!(user("n,,n=a=2Cb=3Dc,r=x"), Ok("a,b=c".to_owned()));
        assert_eq!(user("n,,n=I\u{ad}X,r=x"), Ok("IX".to_owned()));
        for (text, failure) in [
            ("p=tls-exporter,,n=user,r=x", Failure::ChannelBinding),
            ("n,a=admin,n=user,r=x", Failure::ActsForAnother),
            ("n,,m=ext,n=user,r=x", Failure::Extension),
            ("n,,n=a=2cb,r=x", Failure::UserName),
            ("n,,n=a=,r=x", Failure::UserName),
            ("n,,n=a\u{7}b,r=x", Failure::UserName),
            ("n,,n=,r=x", Failure::Malformed("the user name is empty")),
            ("n,,n=user", Failure::Malformed("no nonce")),
            ("n,,n=user,r=", Failure::Malformed("no nonce")),
            ("n,,n=user,r=a b", Failure::Malformed("no nonce")),
            ("n,,r=x,n=user", Failure::Malformed("no user name")),
            ("n,b,n=user,r=x", Failure::Malformed("no authorisation identity")),
            ("x,,n=user,r=x", Failure::Malformed("no channel binding flag")),
            ("", Failure::Malformed("no GS2 header")),
        ] {
            assert_eq!(user(text), Err(failure), "{text}");
            assert!(failure.reply().starts_with("e="));
        }
        assert_eq!(ClientFirst::parse(b"n,,n=\xff,r=x"), Err(Failure::UserName));
        let long = format!("n,,n=user,r={}", "x".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(user(&long), Err(Failure::Malformed("it is too long")));
    }

    #[test]
    fn final_messages_are_refused_with_the_reason_wherever_they_are_cut() {
        let first = "n,,n=user,r=abc";
        let (_, server_first) = challenged(Mechanism::Sha256, first);
        let whole = client_final(Mechanism::Sha256, first, &server_first, "pencil");
        for at in 0..whole.len() {
            let (server, _) = challenged(Mechanism::Sha256, first);
            assert!(server.finish(&whole.as_bytes()[..at]).is_err());
        }
        let (server, _) = challenged(Mechanism::Sha256, first);
        assert_eq!(server.finish(b"m=x,c=biws,r=abc,p=AAAA"), Err(Failure::Extension));
    }

    #[test]
    fn an_exchange_prints_no_key() {
        let (server, _) = challenged(Mechanism::Sha256, "n,,n=user,r=abc");
        assert_eq!(format!("{server:?}"), "Server(\"user\", ScramKeys(SCRAM-SHA-256, 4096, ***))");
    }
}
