//! What is made for a configuration without a broker: hashes of passwords, and certificates to try TLS with.

use crate::EXIT_MISTAKES;
use crate::output::{self, complain, say};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

/// Reads a password and prints what it is verified by.
pub fn hash_password() -> ExitCode {
    if std::io::stdin().is_terminal() {
        complain!("type the password and press Enter; it is shown while you type");
    }
    match crossdock_auth::secrets::generate(std::io::stdin().lock()) {
        Ok(lines) => {
            output::put(&lines.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("{}", error.detail());
            ExitCode::from(EXIT_MISTAKES)
        }
    }
}

/// Makes certificates to try TLS with.
pub fn self_signed(dir: &Path, names: &[String], client: &str) -> ExitCode {
    match crossdock_net::tls::self_signed_for(dir, names, client) {
        Ok(made) => {
            let (authority, server, key) = (&made.authority, &made.server, &made.server_key);
            say!("tls_certificate = \"{}\"", server.display());
            say!("tls_key = \"{}\"", key.display());
            say!("tls_client_ca = \"{}\"", authority.display());
            complain!(
                "clients trust {} and show {} with {}, whose common name is {client}",
                authority.display(),
                made.client.display(),
                made.client_key.display()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("{error}");
            ExitCode::from(EXIT_MISTAKES)
        }
    }
}
