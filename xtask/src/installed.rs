//! `cargo xtask package --check` and `--try`: tests of the packages. The short one looks into them; the long one
//! installs, starts, upgrades and removes them in a root of its own, which is this machine's with everything that is
//! written kept apart: nothing of this machine changes.

use crate::package::{Package, SHELLS, build, files};
use crate::target;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What has to be in the tree.
const WANTED: &[&str] = &[
    "etc/crossdock/crossdock.toml",
    "usr/bin/crossdock",
    "usr/lib/systemd/system/crossdock.service",
    "usr/lib/sysusers.d/crossdock.conf",
    "usr/share/bash-completion/completions/crossdock",
    "usr/share/doc/crossdock/OPERATING.md",
    "usr/share/doc/crossdock/changelog.gz",
    "usr/share/doc/crossdock/copyright",
    "usr/share/fish/vendor_completions.d/crossdock.fish",
    "usr/share/man/man1/crossdock-ctl-list.1.gz",
    "usr/share/man/man1/crossdock-ctl.1.gz",
    "usr/share/man/man1/crossdock-serve.1.gz",
    "usr/share/man/man1/crossdock-status.1.gz",
    "usr/share/man/man1/crossdock.1.gz",
    "usr/share/zsh/vendor-completions/_crossdock",
];

/// Builds the packages and looks into them.
pub fn check() -> Result<()> {
    let package = build(VERSION)?;
    let there = files(&package.tree)?;
    for wanted in WANTED {
        ensure!(
            there.iter().any(|file| file == Path::new(wanted)),
            "{wanted} is not in the package"
        );
    }
    let program = package.tree.join("usr/bin/crossdock");
    let version = said(Command::new(&program).arg("--version"), "the program of the package")?;
    ensure!(
        version == format!("crossdock {VERSION}\n"),
        "the package has another program: {version}"
    );
    let config = package.tree.join("etc/crossdock/crossdock.toml");
    said(
        Command::new(program).arg("check-config").arg(config),
        "the configuration of the package",
    )?;
    helps(&package.tree)?;
    let list = said(Command::new("dpkg-deb").arg("--contents").arg(&package.deb), "the .deb")?;
    for line in list.lines() {
        ensure!(line.contains(" root/root "), "a file of the package is not root's: {line}");
        let is_config = line.contains("/etc/crossdock/crossdock.toml");
        ensure!(!is_config || line.starts_with("-rw-r-----"), "others can read it: {line}");
        ensure!(!line.contains("./var/"), "data would go with the package: {line}");
    }
    Ok(())
}

/// The page for man and the completions of each shell know `ctl` and what it lists.
fn helps(tree: &Path) -> Result<()> {
    let page = |name: &str| {
        let page = tree.join("usr/share/man/man1").join(name);
        said(Command::new("gzip").arg("-dc").arg(page), name)
    };
    for (name, word) in [
        ("crossdock.1.gz", "crossdock\\-ctl(1)"),
        ("crossdock-ctl.1.gz", "crossdock\\-ctl\\-list(1)"),
        ("crossdock-ctl-list.1.gz", "moves"),
    ] {
        ensure!(page(name)?.contains(word), "{name} does not say {word}");
    }
    for (_, script) in SHELLS {
        let text = fs::read_to_string(tree.join(script))?;
        for word in ["ctl", "declare", "per-second"] {
            ensure!(text.contains(word), "{script} does not complete {word}");
        }
    }
    // Bash is asked as somebody who presses the key asks it.
    for (line, wanted) in [("crossdock ct", "ctl"), ("crossdock ctl list mo", "moves")] {
        let words: Vec<&str> = line.split(' ').collect();
        let (last, word) = (words.len() - 1, words.last().copied().unwrap_or_default());
        let before = words.get(last - 1).copied().unwrap_or_default();
        let ask = format!(
            ". \"$0\"; COMP_WORDS=({line}) COMP_CWORD={last}; _crossdock crossdock '{word}' '{before}'; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let script = tree.join("usr/share/bash-completion/completions/crossdock");
        let completed = said(Command::new("bash").args(["-c", &ask]).arg(script), "completions")?;
        ensure!(completed.trim() == wanted, "'{line}' is completed with '{}'", completed.trim());
    }
    Ok(())
}

/// Why the long test cannot be run here; none: it can.
pub fn missing() -> Option<String> {
    let probe = in_a_root("true", &[]);
    match probe.and_then(|mut command| Ok(command.output()?)) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "no root of its own can be mounted: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Installs, starts, upgrades, removes and purges; then the steps of the Dockerfile.
pub fn try_out() -> Result<()> {
    let first = build(VERSION)?;
    let second = build(&format!("{VERSION}+next"))?;
    let debs = [first.deb.as_path(), second.deb.as_path()];
    let said = run_in_a_root(&format!("{PRELUDE}\n{LIFE}"), &debs)?;
    ensure!(said.ends_with("all is well\n"), "the package ended early:\n{said}");
    image(&first)
}

/// Runs what the Dockerfile says, without an image below it: the machine's own root is there instead.
fn image(package: &Package) -> Result<()> {
    let folder = package.folder.join("docker");
    let text = fs::read_to_string(folder.join("Dockerfile"))?;
    let (mut script, mut user, mut words) = (PRELUDE.to_owned(), "root".to_owned(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (step, rest) =
            line.split_once(' ').context("a step of the Dockerfile has no argument")?;
        match step {
            "COPY" => {
                let (from, to) = rest.split_once(' ').context("COPY has two arguments")?;
                ensure!(folder.join(from).is_file(), "{from} is not beside the Dockerfile");
                script += &format!("\ncp /packages/{from} {to}");
            }
            "RUN" => script += &format!("\n{rest}"),
            "USER" => user = rest.to_owned(),
            "WORKDIR" => script += &format!("\nmkdir -p {rest}; cd {rest}"),
            "VOLUME" => script += &format!("\n[ \"$(stat -c %U:%a {rest})\" = {user}:700 ]"),
            "ENTRYPOINT" | "CMD" => words.push(rest.replace(['[', ']', ',', '"'], " ")),
            "FROM" | "EXPOSE" | "STOPSIGNAL" => {}
            other => bail!("the test does not know what {other} does"),
        }
    }
    let command = words.concat();
    script += &format!("\nstart {user} {command}\nkept /queue/image\nstop\necho all is well\n");
    let said = run_in_a_root(&script, &[&folder.join("crossdock.deb")])?;
    ensure!(said.ends_with("all is well\n"), "the image ended early:\n{said}");
    Ok(())
}

/// What the scripts below use.
const PRELUDE: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() { echo "failed: $*" >&2; cat /tmp/err >&2 2> /dev/null; exit 1; }
# start USER COMMAND...: as that user, until it says that it is ready.
start() {
    user=$1; shift
    rm -f /tmp/out; touch /tmp/out
    setpriv --reuid "$user" --regid "$user" --init-groups env -i HOME=/ "$@" > /tmp/out 2> /tmp/err &
    broker=$!
    for _ in $(seq 300); do
        grep -q '^crossdock ready' /tmp/out && break
        kill -0 $broker 2> /dev/null || fail "the broker ended"
        sleep 0.1
    done
    grep -q '^crossdock ready' /tmp/out || fail "the broker is not ready"
    [ "$(stat -c %U /proc/$broker)" = "$user" ] || fail "the broker is not $user's"
}
stop() { kill -TERM $broker; wait $broker || fail "the broker did not stop in order"; }
# kept DESTINATION: a client publishes a message there and is told that it is stored.
kept() {
    exec 3<> /dev/tcp/127.0.0.1/61613
    printf 'CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\0' >&3
    printf 'SEND\ndestination:%s\npersistent:true\nreceipt:stored\n\nkept\0' "$1" >&3
    for _ in 1 2; do read -r -t 20 -d '' frame <&3 || fail "no answer"; done
    exec 3>&-
    case "$frame" in *RECEIPT*receipt-id:stored*) ;; *) fail "not stored: $frame";; esac
}
"#;

/// The life of a package.
const LIFE: &str = r#"
config=/etc/crossdock/crossdock.toml
data=/var/lib/crossdock
has() { [ "$(crossdock store dump $data --queue "$1" | wc -l)" = "$2" ] || fail "$1 has not $2"; }
begin() { start crossdock $(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/crossdock.service); }

dpkg --install /packages/*[0-9]_*.deb
[ "$(stat -c %U:%G:%a $config)" = root:crossdock:640 ] || fail "rights of $config"
[ "$(stat -c %U:%G:%a $data)" = crossdock:crossdock:700 ] || fail "rights of $data"
if command -v systemd-analyze > /dev/null; then
    systemd-analyze verify /usr/lib/systemd/system/crossdock.service > /tmp/verify 2>&1 || true
    ! grep crossdock /tmp/verify || fail "the unit has mistakes"
    systemd-analyze security --offline=true --threshold=30 \
        /usr/lib/systemd/system/crossdock.service > /tmp/security || fail "the unit is too open"
fi
begin
kept /queue/first

# Its own user and root ask it without saying where it is; nobody else does.
as() {
    who=$1; shift
    setpriv --reuid "$who" --regid "$(id -g "$who")" --init-groups env -i HOME=/ PATH=$PATH "$@"
}
well() { "$@" > /tmp/said 2>&1 && grep -q '^all is well' /tmp/said || fail "$*: $(cat /tmp/said)"; }
for command in 'crossdock status' 'crossdock ctl status'; do
    well $command
    well as crossdock $command
    ! as nobody $command --data-dir $data > /tmp/said 2>&1 || fail "nobody is let in: $command"
    grep -q 'Permission denied' /tmp/said || fail "nobody is not told why: $(cat /tmp/said)"
done
as crossdock crossdock ctl list queues | grep -q '^/ *first ' || fail "no list for its user"
zcat /usr/share/man/man1/crossdock-ctl.1.gz | grep -q 'list' || fail "no page for ctl"
grep -q ctl /usr/share/bash-completion/completions/crossdock || fail "no completions of ctl"

# The configuration is the administrator's from now on, and the broker runs through the upgrade.
echo '# mine' >> $config
dpkg --install /packages/*next*.deb
[ "$(tail -n 1 $config)" = '# mine' ] || fail "the configuration was replaced"
[ "$(stat -c %U:%G:%a $config)" = root:crossdock:640 ] || fail "rights of $config after the upgrade"
kept /queue/first
stop
begin
kept /queue/first
stop
has first 3

dpkg --remove crossdock
[ ! -e /usr/bin/crossdock ] || fail "the program is still there"
[ -e $config ] || fail "the configuration was taken"
[ -e $data/store/manifest ] || fail "the data were taken"
dpkg --purge crossdock > /tmp/purged
grep -q 'messages stay' /tmp/purged || fail "nothing was said about the data"
[ ! -e /etc/crossdock ] || fail "the configuration is still there"
[ -e $data/store/manifest ] || fail "the data were taken"
left=$(find /etc /usr /opt -xdev -newer /packages -path '*crossdock*' || true)
[ -z "$left" ] || fail "left behind: $left"

dpkg --install /packages/*next*.deb
has first 3
echo all is well
"#;

/// Runs a script in a root of its own and returns what it printed.
fn run_in_a_root(script: &str, packages: &[&Path]) -> Result<String> {
    let output = in_a_root(script, packages)?.output().context("unshare cannot be run")?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{out}{error}");
    Ok(out)
}

/// A command that runs a script of bash in a root of its own, with network and processes of its own, and these files in
/// /packages. What it writes is in memory and gone afterwards.
fn in_a_root(script: &str, packages: &[&Path]) -> Result<Command> {
    let folder = target().join("package").join("system");
    fs::create_dir_all(&folder)?;
    let mut copies = String::new();
    for package in packages {
        copies += &format!("cp '{}' {}/whole/packages/\n", package.display(), folder.display());
    }
    let folder = folder.display();
    let outer = format!(
        "set -eu
        mount -t tmpfs none {folder}
        mkdir {folder}/upper {folder}/work {folder}/whole
        mount -t overlay none -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/whole
        mkdir {folder}/whole/packages
        {copies}
        mount -t proc none {folder}/whole/proc
        mount --rbind /dev {folder}/whole/dev
        mount -t tmpfs none {folder}/whole/tmp
        chmod 1777 {folder}/whole/tmp
        rm -rf {folder}/whole/run/systemd/system
        ip link set lo up
        exec chroot {folder}/whole bash -c \"$SCRIPT\" < /dev/null"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", &outer]);
    command.env("SCRIPT", script).stdin(Stdio::null());
    Ok(command)
}

/// What a command prints, if it succeeds.
fn said(command: &mut Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{what}: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
