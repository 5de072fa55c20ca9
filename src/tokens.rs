//! The tokens of a configuration: whose are taken, and what they have to say.

use crate::config::{self, Loaded, Mistake};
use crate::users::variable;
use crossdock_auth::{TokenFiles, TokenKeys, TokenRights, TokenRules, Tokens};
use crossdock_core::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// How tokens are taken; none: they are not.
pub fn tokens(loaded: &Loaded, mistakes: &mut Vec<Mistake>) -> Option<Tokens> {
    let auth = &loaded.config.auth.tokens;
    let claims = [
        ("token_user_claim", auth.token_user_claim.is_empty()),
        ("token_scope_claim", auth.token_scope_claim.is_empty()),
    ];
    for (field, _) in claims.iter().filter(|(_, is_empty)| *is_empty) {
        mistakes.push(loaded.mistake(format!("auth.{field}"), "must not be empty"));
    }
    if !auth.has_keys() {
        let idle = [
            ("token_issuer", auth.token_issuer.is_some()),
            ("token_audience", auth.token_audience.is_some()),
        ];
        for (field, _) in idle.iter().filter(|(_, is_set)| *is_set) {
            let reason = "has an effect with keys that tokens are checked with only";
            mistakes.push(loaded.mistake(format!("auth.{field}"), reason));
        }
        return None;
    }
    if !loaded.config.auth.logins.order.iter().any(|name| name == config::Logins::OWN) {
        let reason = "names no 'own', which takes tokens: the keys of tokens would have no effect";
        mistakes.push(loaded.mistake("auth.order", reason));
    }
    let paths = |files: &[PathBuf]| files.iter().map(|file| loaded.base_dir.join(file)).collect();
    let secret = auth.token_secret_env.as_ref().and_then(|name| match variable(name) {
        Ok(text) => Some((name.clone(), Secret(text.into()))),
        Err(reason) => {
            mistakes.push(loaded.mistake("auth.token_secret_env", reason));
            None
        }
    });
    let files = TokenFiles {
        secrets: paths(&auth.token_secret_files),
        secret,
        public_keys: paths(&auth.token_public_key_files),
        key_sets: paths(&auth.token_key_set_files),
    };
    let lists = [&files.secrets, &files.public_keys, &files.key_sets];
    if files.secret.is_none() && lists.into_iter().all(Vec::is_empty) {
        // That the only one is missing was said.
        return None;
    }
    let keys = match TokenKeys::load(&files) {
        Ok(keys) => keys,
        Err(found) => {
            for error in found {
                let key = key_of(&files, error.detail());
                mistakes.push(loaded.mistake(key, error.detail()));
            }
            return None;
        }
    };
    let rules = TokenRules {
        issuer: auth.token_issuer.clone(),
        audience: auth.token_audience.clone(),
        user_claim: auth.token_user_claim.clone(),
        scope_claim: auth.token_scope_claim.clone(),
        scope_prefix: auth.token_scope_prefix.clone(),
        leeway: Duration::from_secs(auth.token_leeway_seconds.into()),
    };
    let rights = match auth.token_rights {
        config::TokenRights::Scopes => TokenRights::Scopes,
        config::TokenRights::Account => TokenRights::Account,
    };
    Some(Tokens { keys, rules, rights })
}

/// The key that names the file which a mistake begins with.
fn key_of(files: &TokenFiles, detail: &str) -> String {
    let lists = [
        ("token_secret_files", &files.secrets),
        ("token_public_key_files", &files.public_keys),
        ("token_key_set_files", &files.key_sets),
    ];
    for (field, list) in lists {
        let is_it = |path: &PathBuf| detail.starts_with(&format!("{}: ", path.display()));
        if let Some(index) = list.iter().position(is_it) {
            return format!("auth.{field}[{index}]");
        }
    }
    match files.secret {
        Some(_) => "auth.token_secret_env".to_owned(),
        None => "auth".to_owned(),
    }
}
