//! Without a broker: the file, and what becomes of logins.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Of `right`, at a small cost.
const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
                    rc9SVIMTq5NJGXhhEkKX2z34B0IX900+yu18TYBLKbM";

/// A file that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("user-file-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("users.toml")
    }

    fn write(&self, text: &str) {
        // Another file each time, as editors do it: its time need not differ.
        let new = self.0.join("new");
        fs::write(&new, text).expect("written");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("ours");
        fs::rename(new, self.file()).expect("renamed");
    }

    fn start(&self, more: &str) -> Result<UserFile, String> {
        UserFile::start(&format!("{{\"file\":\"{}\"{more}}}", self.file().display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn user(name: &str, more: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\npassword_hash = \"{HASH}\"\n{more}\n")
}

fn login(users: &UserFile, user: &str, password: &str) -> Result<Answer, String> {
    let password = Secret::new(password.as_bytes());
    users.login(&Login {
        credentials: Credentials::Password { user, password },
        loopback: false,
        peer: "192.0.2.1:4711",
        client: "",
        virtual_host: None,
    })
}

fn name_of(answer: Result<Answer, String>) -> String {
    match answer {
        Ok(Answer::User(user)) => user.name,
        other => format!("{other:?}"),
    }
}

#[test]
fn a_user_of_the_file_comes_with_its_rights() {
    let folder = Folder::new("rights");
    folder
        .write(&user("ann", "write = [\"topic:a/#\"]\ntags = [\"monitoring\"]\nvhosts = [\"v\"]"));
    let users = folder.start(",\"login_seconds\":60").expect("starts");
    let Ok(Answer::User(ann)) = login(&users, "ann", "right") else { panic!("refused") };
    let write = vec!["topic:a/#".to_owned()];
    let rights = Rights { virtual_host: "v".to_owned(), write, ..Rights::default() };
    assert_eq!((ann.rights, ann.tags), (vec![rights], vec!["monitoring".to_owned()]));
    let left = ann.expires.expect("an end").duration_since(SystemTime::now()).expect("later");
    assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
    let why = login(&users, "ann", "wrong").expect_err("refused");
    assert_eq!(why, "the user has another password");
    assert_eq!(login(&users, "bob", "right"), Ok(Answer::NotMine));
    assert!(login(&users, "ann", &"r".repeat(2_000)).is_err());
}

#[test]
fn the_file_is_read_again_when_it_has_changed() {
    let folder = Folder::new("again");
    folder.write(&user("ann", ""));
    let users = folder.start("").expect("starts");
    assert_eq!(name_of(login(&users, "ann", "right")), "ann");
    folder.write(&user("bob", ""));
    assert_eq!(login(&users, "ann", "right"), Ok(Answer::NotMine));
    assert_eq!(name_of(login(&users, "bob", "right")), "bob");
    // What has a mistake, or is gone for a moment, changes nothing.
    folder.write("[[user]]\nname = 7\n");
    assert_eq!(name_of(login(&users, "bob", "right")), "bob");
    fs::remove_file(folder.file()).expect("gone");
    assert_eq!(name_of(login(&users, "bob", "right")), "bob");
    folder.write(&user("ann", ""));
    assert_eq!(name_of(login(&users, "ann", "right")), "ann");
}

#[test]
fn mistakes_are_named_and_no_hash_is_repeated() {
    let folder = Folder::new("mistakes");
    let costly = HASH.replacen("m=64", "m=999999", 1);
    let cases = [
        ("[[user]]\nname = \"a\"\n".to_owned(), "missing field `password_hash`"),
        (user("a", "passwort = 1"), "line 4: unknown field `passwort`"),
        (user("a", &format!("tags = \"{HASH}\"")), "line 4: a value is not what it has to be"),
        (user("a", "") + &user("a", ""), "user 'a': stands twice"),
        (user("guest", ""), "user 'guest': guest is the broker's own"),
        (user("", ""), "a name has 1 to 255 bytes"),
        (user("a", "vhosts = []"), "vhosts names none"),
        (user("a", "").replace(HASH, "secret"), "user 'a': password_hash is none"),
        (user("a", "").replace(HASH, &costly), "user 'a': password_hash costs more"),
        (user("a", "").replace("argon2id", "argon2d"), "no whole hash of argon2id"),
    ];
    for (text, why) in cases {
        folder.write(&text);
        let error = folder.start("").err().unwrap_or_default();
        assert!(error.contains(why) && error.contains("users.toml: "), "{text}\n{error}");
        assert!(!error.contains("secret") && !error.contains("$argon2id$v"), "{error}");
    }
    folder.write(&user("a", ""));
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.file(), open).expect("ours");
    assert!(folder.start("").is_err_and(|why| why.ends_with("chmod 600")));
    for (with, why) in [
        ("{}", "missing field `file`"),
        ("{\"file\":\"users.toml\"}", "is not an absolute path"),
        ("{\"file\":\"/u\",\"files\":1}", "unknown field `files`"),
        ("{\"file\":\"/u\",\"login_seconds\":0}", "login_seconds"),
        ("{\"file\":\"/gone/users.toml\"}", "/gone/users.toml: "),
    ] {
        let error = UserFile::start(with).err().unwrap_or_default();
        assert!(error.contains(why), "{with} {error}");
    }
    assert!(Path::new(&folder.file()).exists());
}

#[test]
fn other_credentials_are_somebody_elses() {
    let folder = Folder::new("others");
    folder.write(&user("ann", ""));
    let users = folder.start("").expect("starts");
    let token = Secret::new(b"right");
    for credentials in [Credentials::Anonymous, Credentials::Token { user: "ann", token }] {
        let (peer, client) = ("", "");
        let login = Login { credentials, loopback: true, peer, client, virtual_host: Some("/") };
        assert_eq!(users.login(&login), Ok(Answer::NotMine));
    }
}
