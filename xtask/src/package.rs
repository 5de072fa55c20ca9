//! `cargo xtask package`: the release build with all that belongs around it, as a tree, a .deb, an archive and what an
//! image is built of, in target/package. What is in it stands in packaging/; pages and completions are printed by the
//! program itself.

use crate::{binary, cargo, command, root, target};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where each file of packaging/ goes, with its rights.
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/crossdock.service", "usr/lib/systemd/system/crossdock.service", 0o644),
    ("packaging/crossdock.sysusers", "usr/lib/sysusers.d/crossdock.conf", 0o644),
    ("packaging/crossdock.toml", "etc/crossdock/crossdock.toml", 0o640),
    ("packaging/debian/copyright", "usr/share/doc/crossdock/copyright", 0o644),
    ("docs/OPERATING.md", "usr/share/doc/crossdock/OPERATING.md", 0o644),
    ("docs/CONFIGURATION.md", "usr/share/doc/crossdock/CONFIGURATION.md", 0o644),
    ("docs/guide/security.md", "usr/share/doc/crossdock/guide/security.md", 0o644),
    ("docs/guide/routes.md", "usr/share/doc/crossdock/guide/routes.md", 0o644),
];

/// Completions, and where each goes.
pub const SHELLS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/crossdock"),
    ("zsh", "usr/share/zsh/vendor-completions/_crossdock"),
    ("fish", "usr/share/fish/vendor_completions.d/crossdock.fish"),
];

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// What was built.
pub struct Package {
    /// The folder with everything.
    pub folder: PathBuf,
    pub tree: PathBuf,
    pub deb: PathBuf,
}

/// Builds the program and its packages.
pub fn package() -> Result<ExitCode> {
    let status = cargo(&["build", "--release", "--bin", "crossdock"]).status();
    ensure!(status.context("cargo cannot be run")?.success(), "the broker could not be built");
    let package = build(env!("CARGO_PKG_VERSION"))?;
    for entry in fs::read_dir(&package.folder)? {
        println!("{}", entry?.path().display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the packages of the release build that is there.
pub fn build(version: &str) -> Result<Package> {
    let folder = target().join("package");
    let tree = folder.join(format!("tree-{version}"));
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fill(&tree)?;
    let archive =
        folder.join(format!("crossdock-{version}-{}-linux.tar.gz", std::env::consts::ARCH));
    pack(&tree, &archive)?;
    let deb = folder.join(format!("crossdock_{version}_{}.deb", architecture()?));
    debian(&tree, &deb, version)?;
    let docker = folder.join("docker");
    fs::create_dir_all(&docker)?;
    fs::copy(root().join("packaging/Dockerfile"), docker.join("Dockerfile"))?;
    fs::copy(&deb, docker.join("crossdock.deb"))?;
    Ok(Package { folder, tree, deb })
}

/// The tree of files as they are installed.
fn fill(tree: &Path) -> Result<()> {
    let program = tree.join("usr/bin/crossdock");
    put(&binary(), &program, 0o755)?;
    // Without it the program is larger, and that is all.
    let _ = Command::new("strip").arg(&program).status();
    for (from, to, mode) in FILES {
        put(&root().join(from), &tree.join(to), *mode)?;
    }
    let pages = tree.join("usr/share/man/man1");
    run(Command::new(&program).arg("man").arg(&pages))?;
    for (shell, to) in SHELLS {
        let script = Command::new(&program).args(["completions", shell]).output()?;
        ensure!(script.status.success() && !script.stdout.is_empty(), "no completions for {shell}");
        write(&tree.join(to), &script.stdout, 0o644)?;
    }
    let changes = tree.join("usr/share/doc/crossdock/changelog");
    put(&root().join("CHANGELOG.md"), &changes, 0o644)?;
    let mut zip = Command::new("gzip");
    zip.args(["-9", "-n", "-f"]).arg(&changes);
    for entry in fs::read_dir(&pages)? {
        let path = entry?.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        zip.arg(path);
    }
    run(&mut zip)
}

/// The archive: the tree in a folder, with a page that says how to install it.
fn pack(tree: &Path, archive: &Path) -> Result<()> {
    let page = tree.join("README.md");
    put(&root().join("packaging/README.md"), &page, 0o644)?;
    put(&root().join("LICENSE"), &tree.join("LICENSE"), 0o644)?;
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(".tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime", &moment()]);
    tar.args(["--transform", &format!("s,^\\.,{name},"), "-C"]).arg(tree);
    run(tar.arg("-czf").arg(archive).arg("."))?;
    fs::remove_file(page)?;
    fs::remove_file(tree.join("LICENSE"))?;
    Ok(())
}

/// The package for Debian and what descends from it.
fn debian(tree: &Path, deb: &Path, version: &str) -> Result<()> {
    let control = tree.join("DEBIAN");
    for script in SCRIPTS {
        put(&root().join("packaging/debian").join(script), &control.join(script), 0o755)?;
    }
    let (mut sums, mut bytes) = (String::new(), 0);
    for file in files(tree)?.iter().filter(|file| !file.starts_with("DEBIAN")) {
        let path = tree.join(file);
        bytes += fs::metadata(&path)?.len();
        let sum = Command::new("md5sum").arg(&path).output().context("md5sum cannot be run")?;
        let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
        let sum = sum.split_whitespace().next().context("md5sum said nothing")?.to_owned();
        sums += &format!("{sum}  {}\n", file.display());
    }
    write(&control.join("md5sums"), sums.as_bytes(), 0o644)?;
    write(&control.join("conffiles"), b"/etc/crossdock/crossdock.toml\n", 0o644)?;
    let glibc = glibc(&fs::read(tree.join("usr/bin/crossdock"))?);
    let text = format!(
        "Package: crossdock\nVersion: {version}\nArchitecture: {}\nSection: net\nPriority: optional\n\
         Maintainer: the authors of Crossdock <noreply@localhost>\nInstalled-Size: {}\n\
         Depends: libc6 (>= {glibc}), libgcc-s1, init-system-helpers, passwd\n\
         Description: multi-protocol message broker\n \
         Speaks AMQP 0-9-1, MQTT 3.1.1 and 5, and STOMP 1.0 to 1.2 on one message store.\n",
        architecture()?,
        bytes.div_ceil(1024),
    );
    write(&control.join("control"), text.as_bytes(), 0o644)?;
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", "-z1", "--build"])
        .args([tree, deb])
        .env("SOURCE_DATE_EPOCH", moment().trim_start_matches('@'))
        .output()
        .context("dpkg-deb cannot be run: it is in Debian's package dpkg")?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(())
}

/// Debian's name of this machine's architecture.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("there are no packages for {other}"),
    }
}

/// The newest version of the C library that a program names.
fn glibc(program: &[u8]) -> String {
    const NAME: &[u8] = b"GLIBC_2.";
    let found = program.windows(NAME.len() + 3).filter_map(|bytes| {
        let digits = bytes.strip_prefix(NAME)?;
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(digits.get(..count)?).ok()?.parse::<u32>().ok()
    });
    format!("2.{}", found.max().unwrap_or(17))
}

/// The time of the newest commit, so that the same sources give the same packages.
fn moment() -> String {
    let time = command("git", &["log", "-1", "--format=%ct"]).output();
    let time = time.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!("@{}", time.ok().filter(|time| !time.is_empty()).unwrap_or("0".to_owned()))
}

/// The files below a folder, sorted, by their paths in it.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(folder)?.to_owned()),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
    write(to, &bytes, mode)
}

fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut made = PathBuf::new();
    for part in to.parent().unwrap_or(Path::new("/")).components() {
        made.push(part);
        if !made.exists() {
            fs::create_dir(&made)?;
            fs::set_permissions(&made, fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::write(to, bytes).with_context(|| format!("{} cannot be written", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
