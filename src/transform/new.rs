//! A folder with a new module, from the templates of transforms/templates.

use super::Said;
use clap::ValueEnum;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Bytes of a name: it becomes the name of a folder, a package and a route.
const NAME_MAX: usize = 50;

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

const RUST: [File; 9] = [
    ("Cargo.toml", template!("rust/package.toml")),
    ("src/lib.rs", template!("rust/src/lib.rs")),
    (".gitignore", "target\n"),
    ("sdk/Cargo.toml", sdk!("Cargo.toml")),
    ("sdk/src/lib.rs", sdk!("src/lib.rs")),
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
    let is_good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if name.len() > NAME_MAX
        || !name.starts_with(|first: char| first.is_ascii_lowercase())
        || !name.bytes().all(is_good)
    {
        return Err(vec![format!(
            "'{name}' cannot be a module's name: 1 to {NAME_MAX} lower-case letters, digits and -, \
             a letter first"
        )]);
    }
    let folder = into.unwrap_or(Path::new(".")).join(name);
    let failed = |what: &Path, error| vec![format!("{}: {error}", what.display())];
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
    }
    fs::create_dir(&folder).map_err(|error| failed(&folder, error))?;
    for (path, text) in language.files().iter().chain(&ALL) {
        let file = folder.join(path);
        let mut text = (*text).to_owned();
        if *path == "README.md" {
            text.push_str(&ROUTE.replace("LIMITS", language.limits()));
        }
        // The SDK and the contract are copied as they are.
        if !path.starts_with("sdk/") && !path.starts_with("wit/") {
            text = text.replace("NAME", name).replace("MODULE", &name.replace('-', "_"));
        }
        write(&file, &text).map_err(|error| failed(&file, error))?;
    }
    let said = vec![format!("{} is made: its README.md says how to go on", folder.display())];
    Ok(Said { said, has_failed: false })
}

/// Makes a file that is not there yet.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(file)?.write_all(text.as_bytes())
}
