//! A folder with a new module, from the templates of transforms/templates.

use super::Said;
use crate::new_folder::{self, Names};
use clap::ValueEnum;
use std::path::Path;

/// A module's name becomes that of a route, too.
const NAMES: Names = Names { of: "a module", max: 50 };

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    Javascript,
    Python,
}

/// A file of the new folder, and its text.
type File = (&'static str, &'static str);

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../transforms/templates/", $path))
    };
}

macro_rules! sdk {
    ($path:literal) => {
        include_str!(concat!("../../transforms/sdk/", $path))
    };
}

const RUST: [File; 11] = [
    ("Cargo.toml", template!("rust/package.toml")),
    ("src/lib.rs", template!("rust/src/lib.rs")),
    (".gitignore", "target\n"),
    ("sdk/Cargo.toml", sdk!("Cargo.toml")),
    ("sdk/src/lib.rs", sdk!("src/lib.rs")),
    ("sdk/src/heap.rs", sdk!("src/heap.rs")),
    ("sdk/src/kv.rs", sdk!("src/kv.rs")),
    ("sdk/src/log.rs", sdk!("src/log.rs")),
    ("sdk/src/metrics.rs", sdk!("src/metrics.rs")),
    ("sdk/src/sample.rs", sdk!("src/sample.rs")),
    ("README.md", template!("README.rust.md")),
];

const JAVASCRIPT: [File; 7] = [
    ("package.json", template!("javascript/package.json")),
    ("transform.js", template!("javascript/transform.js")),
    ("reshape.js", template!("javascript/reshape.js")),
    ("reshape.test.js", template!("javascript/reshape.test.js")),
    ("build.js", template!("javascript/build.js")),
    (".gitignore", "node_modules\nbuild\n"),
    ("README.md", template!("README.javascript.md")),
];

const PYTHON: [File; 5] = [
    ("transform.py", template!("python/transform.py")),
    ("test_transform.py", template!("python/test_transform.py")),
    ("build.sh", template!("python/build.sh")),
    (".gitignore", "__pycache__\n"),
    ("README.md", template!("README.python.md")),
];

/// In every folder.
const ALL: [File; 2] = [
    ("wit/crossdock-transform.wit", include_str!("../../transforms/wit/crossdock-transform.wit")),
    ("sample.json", "{\"id\": 7}\n"),
];

/// The end of every README: the same route, with the limits that the language needs.
const ROUTE: &str = template!("README.route.md");
const LIMITS: &str = "limits = { memory = \"64MiB\", deadline = \"1s\" }\n";

impl Language {
    fn files(self) -> &'static [File] {
        match self {
            Language::Rust => &RUST,
            Language::Javascript => &JAVASCRIPT,
            Language::Python => &PYTHON,
        }
    }

    fn limits(self) -> &'static str {
        match self {
            Language::Rust => "",
            Language::Javascript | Language::Python => LIMITS,
        }
    }
}

/// Makes the folder.
pub fn new(language: Language, name: &str, into: Option<&Path>) -> Result<Said, Vec<String>> {
    let files = language.files().iter().chain(&ALL).map(|(path, text)| {
        let mut text = (*text).to_owned();
        if *path == "README.md" {
            text.push_str(&ROUTE.replace("LIMITS", language.limits()));
        }
        // The SDK and the contract are copied as they are.
        match path.starts_with("sdk/") || path.starts_with("wit/") {
            true => (*path, text),
            false => (*path, new_folder::named(&text, name)),
        }
    });
    let folder = NAMES.make(name, into, files).map_err(|why| vec![why])?;
    let said = vec![format!("{} is made: its README.md says how to go on", folder.display())];
    Ok(Said { said, has_failed: false })
}
