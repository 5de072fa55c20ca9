//! `crossdock plugin`: a folder with a new native plugin, from plugins/templates. The SDK is copied into it, so that it
//! is built wherever it stands, and stays the one that it was written for.

use crate::new_folder::{self, File, Names};
use crate::output::{complain, say};
use clap::{Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code: nothing is made.
const EXIT_REFUSED: u8 = 2;

/// A protocol's name is the shortest of those that a plugin's name becomes.
const NAMES: Names = Names { of: "a plugin", max: 32 };

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Make a folder with a new plugin in Rust: source, tests that need no broker, how to build it, and the SDK.
    /// Nothing that exists is overwritten.
    New {
        /// What it brings.
        #[arg(long, value_enum)]
        kind: Kind,
        /// Its name: lower-case letters, digits and -, a letter first.
        name: String,
        /// Where to make the folder of that name; not given: here.
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// What a plugin brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A type of exchange.
    Exchange,
    /// A protocol that listeners speak.
    Protocol,
    /// Who is let in, and what those may do.
    Authenticator,
    /// A step of content routes.
    Transform,
}

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../plugins/templates/", $path))
    };
}

/// What differs between the kinds.
struct Template {
    source: &'static str,
    /// Of its README, before and after which stands the same for all.
    readme: &'static str,
    /// The first sentences there.
    what: &'static str,
    /// Beside the SDK.
    dependencies: &'static str,
}

impl Kind {
    fn template(self) -> Template {
        match self {
            Kind::Exchange => Template {
                source: template!("exchange/lib.rs"),
                readme: template!("exchange/README.md"),
                what: "A type of exchange for Crossdock, in Rust: messages go where the last word of \
                       their routing key leads.",
                dependencies: "",
            },
            Kind::Protocol => Template {
                source: template!("protocol/lib.rs"),
                readme: template!("protocol/README.md"),
                what: "A protocol for Crossdock, in Rust: lines of text, to be written with `nc`.",
                dependencies: "",
            },
            Kind::Authenticator => Template {
                source: template!("authenticator/lib.rs"),
                readme: template!("authenticator/README.md"),
                what: "An authenticator for Crossdock, in Rust: users with hashes of their passwords in \
                       the plugin's own section.",
                dependencies: AUTHENTICATOR_DEPENDENCIES,
            },
            Kind::Transform => Template {
                source: template!("transform/lib.rs"),
                readme: template!("transform/README.md"),
                what: "A step of content routes for Crossdock, in Rust: each line of a text becomes a \
                       message.",
                dependencies: "",
            },
        }
    }
}

const AUTHENTICATOR_DEPENDENCIES: &str = "\
argon2 = { version = \"0.6\", default-features = false, features = [\"alloc\", \"password-hash\"] }
serde = { version = \"1\", features = [\"derive\"] }
serde_json = \"1\"
";

macro_rules! sdk {
    ($($path:literal)*) => {
        [$((concat!("sdk/", $path), include_str!(concat!("../plugins/sdk/", $path)))),*]
    };
}

/// All of the SDK but its manifest, which stands in a workspace here.
const SDK: [(&str, &str); 14] = sdk! {
    "include/crossdock_plugin.h"
    "src/lib.rs"
    "src/abi.rs"
    "src/abi/authenticator.rs"
    "src/abi/transform.rs"
    "src/authenticator.rs"
    "src/exchange.rs"
    "src/glue.rs"
    "src/glue/authenticator.rs"
    "src/glue/transform.rs"
    "src/protocol.rs"
    "src/transform.rs"
    "src/trial.rs"
    "src/values.rs"
};

/// Carries out the command.
pub fn run(command: PluginCommand) -> ExitCode {
    let PluginCommand::New { kind, name, into } = command;
    match new(kind, &name, into.as_deref()) {
        Ok(folder) => {
            say!("{} is made: its README.md says how to go on", folder.display());
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            complain!("{mistake}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn new(kind: Kind, name: &str, into: Option<&Path>) -> Result<PathBuf, String> {
    if name == "crossdock-plugin" {
        return Err(format!("'{name}' is the SDK's name: a plugin needs another one"));
    }
    NAMES.make(name, into, files(kind, name))
}

/// All files of the folder.
fn files(kind: Kind, name: &str) -> Vec<File> {
    let Template { source, readme, what, dependencies } = kind.template();
    let readme = [template!("head.md"), readme, template!("tail.md")].concat();
    let package = template!("package.toml").replace("DEPENDENCIES\n", &format!("{dependencies}\n"));
    let sdk = template!("sdk.toml").replace("VERSION", env!("CARGO_PKG_VERSION"));
    let mut files = vec![
        ("Cargo.toml", new_folder::named(&package, name)),
        ("src/lib.rs", rust(source, name)),
        (".gitignore", "target\n".to_owned()),
        ("README.md", new_folder::named(&readme.replace("WHAT", what), name)),
        ("sdk/Cargo.toml", sdk),
    ];
    files.extend(SDK.map(|(path, text)| (path, text.to_owned())));
    files
}

/// The constant that says a name is called NAME, too.
fn rust(source: &str, name: &str) -> String {
    let kept = source.replace("const NAME:", "const \0:");
    new_folder::named(&kept, name).replace('\0', "NAME")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    fn walk(folder: &Path, all: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => walk(&path, all),
                false => _ = all.insert(path),
            }
        }
    }

    #[test]
    fn all_of_the_sdk_is_copied() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk");
        let mut there = BTreeSet::new();
        walk(&sdk, &mut there);
        there.remove(&sdk.join("Cargo.toml"));
        let copied = SDK.map(|(path, _)| sdk.join(path.strip_prefix("sdk/").expect("below sdk")));
        assert_eq!(BTreeSet::from(copied), there);
    }

    #[test]
    fn names_stand_where_they_belong() {
        for kind in Kind::value_variants() {
            let files = files(*kind, "my-own");
            let text = |name: &str| {
                let found = files.iter().find(|(path, _)| *path == name);
                found.map(|(_, text)| text.clone()).unwrap_or_default()
            };
            for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("sdk/src")) {
                for left in ["MODULE", "WHAT", "DEPENDENCIES", "VERSION"] {
                    assert!(
                        !text.contains(left) || *path == "sdk/include/crossdock_plugin.h",
                        "{path}"
                    );
                }
            }
            assert!(text("README.md").contains("libmy_own.so"), "{kind:?}");
            assert!(text("Cargo.toml").contains("name = \"my-own\""), "{kind:?}");
            let source = text("src/lib.rs");
            assert!(source.contains("my-own") && !source.contains("const my-own"), "{source}");
        }
        let cannot = new(Kind::Exchange, "crossdock-plugin", None);
        assert!(cannot.is_err_and(|why| why.contains("is the SDK's name")));
    }
}
