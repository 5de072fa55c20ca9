//! What the verifier promises, with hashes that are cheap, or that wait until a test lets them go, and a clock that the
//! test moves.

use super::*;
use crate::password;
use argon2::Params;
use parking_lot::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinHandle;

/// Watches verifications, and holds them back while it is shut.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_shut: bool,
    inside: usize,
    inside_most: usize,
    /// The passwords that were verified, in order; those against the dummy as well.
    verified: Vec<String>,
}

impl Gate {
    fn pass(&self, password: &Secret) {
        let mut state = self.state.lock();
        state.verified.push(String::from_utf8_lossy(&password.0).into_owned());
        state.inside += 1;
        state.inside_most = state.inside_most.max(state.inside);
        self.changed.notify_all();
        while state.is_shut {
            self.changed.wait(&mut state);
        }
        state.inside -= 1;
    }

    fn shut(&self) {
        self.state.lock().is_shut = true;
    }

    fn open(&self) {
        self.state.lock().is_shut = false;
        self.changed.notify_all();
    }

    fn verified(&self) -> Vec<String> {
        self.state.lock().verified.clone()
    }
}

/// A verifier with its gate.
struct House {
    verifier: Verifier,
    gate: Arc<Gate>,
}

impl Drop for House {
    /// A test that fails does not wait for verifications that it holds back.
    fn drop(&mut self) {
        self.gate.open();
    }
}

fn cheap(password: &str) -> PasswordHash {
    let params = Params::new(8, 1, 1, None).expect("parameters");
    password::hash_with(&secret(password), params).expect("a hash")
}

fn secret(text: &str) -> Secret {
    Secret(Bytes::copy_from_slice(text.as_bytes()))
}

fn house(running_max: usize, waiting_max: usize) -> House {
    let gate = Arc::new(Gate::default());
    let passed = gate.clone();
    let verify = move |hash: &PasswordHash, password: &Secret| {
        assert!(*password.0 != *b"panic", "as the test wants");
        passed.pass(password);
        password::verify(hash, password)
    };
    let check = Check::with(verify, cheap("nobody's"));
    let settings = VerifierSettings { running_max, waiting_max, ..VerifierSettings::default() };
    let verifier = Verifier::with_check(settings, ProcessKey::new(&[5; 32]), check);
    House { verifier, gate }
}

/// A user with a hash for each of these passwords.
#[derive(Clone)]
struct User {
    name: Name,
    hashes: Option<Arc<[PasswordHash]>>,
}

fn user(name: &str, passwords: &[&str]) -> User {
    let hashes = passwords.iter().map(|password| cheap(password)).collect();
    User { name: Name::from(name), hashes: Some(hashes) }
}

fn nobody(name: &str) -> User {
    User { name: Name::from(name), hashes: None }
}

impl House {
    async fn login(&self, user: &User, password: &str, address: u8) -> Result<Verified, Error> {
        login(self.verifier.clone(), user.clone(), password.to_owned(), address).await
    }

    async fn kind(&self, user: &User, password: &str, address: u8) -> Option<ErrorKind> {
        self.login(user, password, address).await.err().map(|error| error.kind())
    }

    /// Begins a login and returns when it waits.
    async fn begin(
        &self,
        user: &User,
        password: &str,
        address: u8,
    ) -> JoinHandle<Result<Verified, Error>> {
        let (verifier, user) = (self.verifier.clone(), user.clone());
        let task = tokio::spawn(login(verifier, user, password.to_owned(), address));
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        task
    }

    /// Begins a login and returns when a worker has its password.
    async fn begin_inside(
        &self,
        user: &User,
        password: &str,
        address: u8,
    ) -> JoinHandle<Result<Verified, Error>> {
        let before = self.gate.verified().len();
        let task = self.begin(user, password, address).await;
        self.until(|house| house.gate.verified().len() > before).await;
        task
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(std::time::Instant::now() < deadline, "did not happen");
            std::thread::sleep(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    }
}

async fn login(
    verifier: Verifier,
    user: User,
    password: String,
    address: u8,
) -> Result<Verified, Error> {
    let (password, address) = (secret(&password), IpAddr::from([127, 0, 0, address]));
    let attempt = Attempt { user: &user.name, password: &password, address, hashes: user.hashes };
    verifier.verify(&attempt).await
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

const REFUSES: Option<ErrorKind> = Some(ErrorKind::Refused);

#[tokio::test(start_paused = true)]
async fn a_right_password_is_verified_once_a_minute() {
    let (house, user) = (house(2, 10), user("u", &["right"]));
    for (seconds, hashes) in [(0, 1), (30, 1), (29, 1), (1, 2), (59, 2), (1, 3)] {
        pass(seconds).await;
        assert_eq!(house.kind(&user, "right", 1).await, None);
        assert_eq!(house.gate.verified().len(), hashes);
    }
    assert_eq!(house.kind(&user, "wrong", 1).await, REFUSES);
    let counts = house.verifier.counts();
    assert_eq!((counts.accepted, counts.cached, counts.wrong), (3, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_user_that_is_forgotten_or_has_another_hash_is_verified() {
    let (house, one, other) = (house(1, 10), user("u", &["right"]), user("v", &["right"]));
    for user in [&one, &other] {
        assert_eq!(house.kind(user, "right", 1).await, None);
    }
    house.verifier.forget(&one.name);
    for user in [&one, &other] {
        assert_eq!(house.kind(user, "right", 1).await, None);
    }
    assert_eq!(house.gate.verified().len(), 3, "the other user stays remembered");
    let changed = user("u", &["new"]);
    assert_eq!(house.kind(&changed, "right", 1).await, REFUSES);
    assert_eq!(house.kind(&changed, "new", 1).await, None);
    assert_eq!(house.kind(&nobody("u"), "right", 1).await, REFUSES);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_while_it_is_verified_is_not_remembered() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    house.gate.shut();
    let login = house.begin_inside(&user, "right", 1).await;
    house.verifier.forget(&user.name);
    house.gate.open();
    assert!(login.await.expect("no panic").is_ok());
    assert_eq!(house.kind(&user, "right", 1).await, None);
    assert_eq!(house.gate.verified().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn equal_logins_share_one_verification_however_many_they_are() {
    let (house, user) = (house(2, 1), user("fleet", &["right"]));
    house.gate.shut();
    let mut logins = vec![house.begin_inside(&user, "right", 0).await];
    for n in 1..15_000u32 {
        let address = n.to_be_bytes()[3];
        let (verifier, user) = (house.verifier.clone(), user.clone());
        logins.push(tokio::spawn(login(verifier, user, "right".to_owned(), address)));
    }
    let waits = |flight: &Flight| flight.answer.receiver_count() == 15_000;
    house.until(|house| house.verifier.shared.state.lock().flights.values().any(waits)).await;
    house.gate.open();
    for login in logins {
        assert!(login.await.expect("no panic").is_ok());
    }
    assert_eq!(house.gate.verified(), ["right"]);
    assert_eq!(house.verifier.counts().accepted, 15_000);
}

#[tokio::test(start_paused = true)]
async fn equal_wrong_logins_are_failures_of_each_address() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    for _ in 0..5 {
        house.gate.shut();
        let first = house.begin_inside(&user, "wrong", 1).await;
        let joined = house.begin(&user, "wrong", 2).await;
        house.gate.open();
        for login in [first, joined] {
            assert!(login.await.expect("no panic").is_err());
        }
    }
    assert_eq!(house.gate.verified().len(), 5);
    for address in [1, 2] {
        assert_eq!(house.kind(&user, "right", address).await, REFUSES);
    }
    assert_eq!(house.kind(&user, "right", 3).await, None);
    assert_eq!(house.verifier.counts().backed_off, 2);
}

#[tokio::test(start_paused = true)]
async fn a_right_login_that_joined_clears_its_own_address() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    let fail = async |times| {
        for _ in 0..times {
            assert_eq!(house.kind(&user, "wrong", 2).await, REFUSES);
        }
    };
    fail(4).await;
    house.gate.shut();
    let first = house.begin_inside(&user, "right", 1).await;
    let joined = house.begin(&user, "right", 2).await;
    house.gate.open();
    for login in [first, joined] {
        assert!(login.await.expect("no panic").is_ok());
    }
    fail(4).await;
    assert_eq!(house.kind(&user, "right", 2).await, None);
}

#[tokio::test(start_paused = true)]
async fn who_joins_does_not_lose_its_place_with_another_address() {
    let house = house(1, 3);
    let users: Vec<User> = (0..6).map(|n| user(&format!("u{n}"), &["right"])).collect();
    house.gate.shut();
    let inside = house.begin_inside(&users[0], "right", 9).await;
    let mut flood = Vec::new();
    for user in &users[1..4] {
        flood.push(house.begin(user, "right", 1).await);
    }
    let joined = house.begin(&users[3], "right", 2).await;
    let other = house.begin(&users[4], "right", 3).await;
    house.until(|house| house.verifier.waiting() == 3).await;
    house.gate.open();
    for login in [inside, joined, other] {
        assert!(login.await.expect("no panic").is_ok());
    }
    let mut refused = 0;
    for login in flood {
        refused += usize::from(login.await.expect("no panic").is_err());
    }
    assert_eq!(refused, 2, "the flood gave two places");
}

#[tokio::test(start_paused = true)]
async fn either_of_two_hashes_opens() {
    let (house, user) = (house(1, 10), user("u", &["old", "new"]));
    for password in ["old", "new"] {
        assert_eq!(house.kind(&user, password, 1).await, None);
    }
    assert_eq!(house.kind(&user, "other", 1).await, REFUSES);
}

#[tokio::test(start_paused = true)]
async fn after_five_failures_nothing_is_hashed_until_the_delay_is_over() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    let mut texts = Vec::new();
    for _ in 0..5 {
        texts.push(house.login(&user, "wrong", 1).await.expect_err("refused"));
    }
    let hashed = house.gate.verified().len();
    texts.push(house.login(&user, "right", 1).await.expect_err("backed off"));
    texts.push(house.login(&nobody("x"), "right", 1).await.expect_err("unknown"));
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    assert_eq!(house.gate.verified().len(), hashed + 1, "only the unknown user's is hashed");
    assert_eq!(house.kind(&user, "right", 2).await, None, "another address is locked out");
    guess(&house, &user).await;
    assert_eq!(
        house.kind(&user, "right", 1).await,
        REFUSES,
        "a remembered password can be guessed"
    );
    pass(1).await;
    assert_eq!(house.kind(&user, "right", 1).await, None);
    for _ in 0..4 {
        assert_eq!(house.kind(&user, "wrong", 1).await, REFUSES);
    }
    assert_eq!(house.kind(&user, "right", 1).await, None, "the success cleared nothing");
    let counts = house.verifier.counts();
    assert_eq!((counts.wrong, counts.unknown, counts.backed_off), (9, 1, 62));
}

/// Sixty guesses at once, from an address that has to wait.
async fn guess(house: &House, user: &User) {
    for n in 0..60 {
        assert_eq!(house.kind(user, &format!("guess {n}"), 1).await, REFUSES);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_right_lately_passes_a_neighbours_wrong_password() {
    let (house, user) = (house(1, 10), user("fleet", &["right"]));
    assert_eq!(house.kind(&user, "right", 1).await, None);
    for _ in 0..8 {
        assert_eq!(house.kind(&user, "old", 1).await, REFUSES);
        pass(10).await;
    }
    for _ in 0..7 {
        assert_eq!(house.kind(&user, "old", 1).await, REFUSES);
    }
    // One device of the fleet goes on with an old password; the others come in all the same.
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(150)).await;
        assert_eq!(house.kind(&user, "right", 1).await, None);
        assert_eq!(house.kind(&user, "old", 1).await, REFUSES);
    }
    // All of it that comes back at once, too.
    tokio::time::advance(Duration::from_secs(5)).await;
    for _ in 0..40 {
        assert_eq!(house.kind(&user, "right", 1).await, None);
    }
    // What was right cannot be guessed at without end.
    guess(&house, &user).await;
    assert_eq!(house.kind(&user, "right", 1).await, REFUSES);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_guesses_is_cut_off_where_back_off_begins() {
    let (house, user) = (house(1, 100), user("u", &["right"]));
    house.gate.shut();
    let mut logins = vec![house.begin_inside(&user, "guess 0", 1).await];
    for n in 1..20 {
        logins.push(house.begin(&user, &format!("guess {n}"), 1).await);
    }
    assert_eq!(house.verifier.waiting(), GUESSES_WAITING_MAX);
    house.gate.open();
    for login in logins {
        let error = login.await.expect("no panic").expect_err("a guess");
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
    assert_eq!(house.gate.verified().len(), 5);
    let counts = house.verifier.counts();
    assert_eq!((counts.wrong, counts.backed_off), (5, 15));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_is_verified_against_the_dummy_and_counts_as_failing() {
    let house = house(1, 10);
    for _ in 0..5 {
        assert_eq!(house.kind(&nobody("x"), "guess", 1).await, REFUSES);
    }
    assert_eq!(house.kind(&nobody("x"), "guess", 1).await, REFUSES);
    // Nobody's password opens nobody.
    assert_eq!(house.kind(&nobody("x"), "nobody's", 2).await, REFUSES);
    assert_eq!(house.kind(&user("u", &[]), "nobody's", 2).await, REFUSES);
    assert_eq!(house.gate.verified().len(), 7);
    let counts = house.verifier.counts();
    assert_eq!((counts.unknown, counts.backed_off, counts.wrong), (6, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_line_answers_at_once_and_other_addresses_find_a_place() {
    let house = house(1, 2);
    let users: Vec<User> = (0..9).map(|n| user(&format!("u{n}"), &["right"])).collect();
    house.gate.shut();
    let inside = house.begin_inside(&users[0], "right", 1).await;
    let waits = house.begin(&users[1], "right", 1).await;
    let loses = house.begin(&users[2], "right", 1).await;
    let refused = house.begin(&users[3], "right", 1).await;
    house.until(|_| refused.is_finished()).await;
    let error = refused.await.expect("no panic").expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let other = house.begin(&users[4], "right", 2).await;
    assert_eq!(house.verifier.waiting(), 2);
    let error = loses.await.expect("no panic").expect_err("its place is another's");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    house.gate.open();
    for login in [inside, waits, other] {
        assert!(login.await.expect("no panic").is_ok());
    }
    assert_eq!(house.verifier.counts().queue_full, 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_verified_at_once_than_allowed_and_all_are() {
    let house = house(2, 100);
    house.gate.shut();
    let mut logins = Vec::new();
    for n in 0..10 {
        logins.push(house.begin(&user(&format!("u{n}"), &["right"]), "right", 1).await);
    }
    house.until(|house| house.gate.state.lock().inside == 2).await;
    assert_eq!(house.verifier.waiting(), 8);
    house.gate.open();
    for login in logins {
        assert!(login.await.expect("no panic").is_ok());
    }
    assert_eq!(house.gate.state.lock().inside_most, 2);
    assert_eq!(house.gate.verified().len(), 10);
    house.until(|house| house.verifier.shared.state.lock().running == 0).await;
    assert_eq!(house.kind(&user("v", &["right"]), "right", 1).await, None, "no worker came back");
}

#[tokio::test(start_paused = true)]
async fn a_login_that_was_given_up_is_not_verified() {
    let (house, user) = (house(1, 10), user("u", &["a", "b", "c"]));
    house.gate.shut();
    let inside = house.begin_inside(&user, "a", 1).await;
    let given_up = house.begin(&user, "b", 1).await;
    let waits = house.begin(&user, "c", 1).await;
    given_up.abort();
    assert!(given_up.await.expect_err("aborted").is_cancelled());
    house.gate.open();
    for login in [inside, waits] {
        assert!(login.await.expect("no panic").is_ok());
    }
    assert!(!house.gate.verified().contains(&"b".to_owned()));
    assert!(house.verifier.shared.state.lock().flights.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_guess_counts_though_its_maker_is_gone() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    for n in 0..5 {
        house.gate.shut();
        let guess = house.begin_inside(&user, &format!("guess {n}"), 1).await;
        guess.abort();
        assert!(guess.await.expect_err("aborted").is_cancelled());
        house.gate.open();
        house.until(|house| house.verifier.shared.state.lock().flights.is_empty()).await;
    }
    assert_eq!(house.kind(&user, "right", 1).await, REFUSES);
}

#[tokio::test(start_paused = true)]
async fn who_was_right_lately_is_verified_before_who_failed() {
    let (house, known) = (house(1, 10), user("known", &["right"]));
    let failing = user("failing", &["secret"]);
    assert_eq!(house.kind(&known, "right", 1).await, None);
    for user in [&failing, &known] {
        assert_eq!(house.kind(user, "wrong", 1).await, REFUSES);
    }
    pass(61).await;
    house.gate.shut();
    let mut logins = vec![house.begin_inside(&user("first", &["first"]), "first", 1).await];
    for (user, password) in [(&failing, "secret"), (&known, "right")] {
        logins.push(house.begin(user, password, 1).await);
    }
    house.gate.open();
    for login in logins {
        assert!(login.await.expect("no panic").is_ok());
    }
    let verified = house.gate.verified();
    assert!(verified.ends_with(&["first", "right", "secret"].map(str::to_owned)), "{verified:?}");
}

#[tokio::test(start_paused = true)]
async fn who_joins_is_not_refused_for_another_addresses_failures() {
    let (house, user) = (house(1, 20), user("u", &["right"]));
    for n in 0..4 {
        assert_eq!(house.kind(&user, &format!("guess {n}"), 1).await, REFUSES);
    }
    house.gate.shut();
    let fifth = house.begin_inside(&user, "guess 5", 1).await;
    let right = house.begin(&user, "right", 1).await;
    let joined = house.begin(&user, "right", 2).await;
    assert_eq!(house.verifier.waiting(), 1);
    house.gate.open();
    assert!(fifth.await.expect("no panic").is_err());
    assert!(right.await.expect("no panic").is_err(), "backed off");
    assert!(joined.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_verification_is_told_and_the_next_one_works() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    assert_eq!(house.kind(&user, "panic", 1).await, Some(ErrorKind::Internal));
    assert_eq!(house.kind(&user, "right", 1).await, None);
    assert_eq!(house.verifier.counts().broken, 1);
}

#[tokio::test(start_paused = true)]
async fn a_legacy_hash_is_to_be_replaced_by_one_of_those_who_wait() {
    let house = house(1, 10);
    let legacy = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
    let hashes = [PasswordHash::parse(legacy).expect("a hash"), cheap("new")];
    let user = User { name: Name::from("rabbit"), hashes: Some(hashes.into()) };
    house.gate.shut();
    let first = house.begin_inside(&user, "test12", 1).await;
    let joined = house.begin(&user, "test12", 1).await;
    house.gate.open();
    assert_eq!(first.await.expect("no panic"), Ok(Verified { nth: 0, rehash: true }));
    assert_eq!(joined.await.expect("no panic"), Ok(Verified { nth: 0, rehash: false }));
    assert_eq!(house.login(&user, "test12", 1).await, Ok(Verified { nth: 0, rehash: false }));
    for _ in 0..2 {
        let new = house.login(&user, "new", 1).await;
        assert_eq!(new, Ok(Verified { nth: 1, rehash: false }), "verified, then remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_too_long_is_wrong_at_the_usual_cost() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
    assert_eq!(house.kind(&user, &long, 1).await, REFUSES);
    assert_eq!(house.gate.verified(), [""], "not the dummy, or the password was kept");
}

#[tokio::test(start_paused = true)]
async fn logins_of_other_kinds_share_the_back_off() {
    let (house, user) = (house(1, 10), user("u", &["right"]));
    let address = IpAddr::from([127, 0, 0, 1]);
    for _ in 0..5 {
        assert!(house.verifier.admit(&user.name, address).is_ok());
        house.verifier.note(&user.name, address, Outcome::Wrong);
    }
    let error = house.verifier.admit(&user.name, address).expect_err("backed off");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::Refused, crate::REFUSED));
    assert_eq!(house.kind(&user, "right", 1).await, REFUSES);
    house.verifier.note(&user.name, address, Outcome::Accepted);
    assert!(house.verifier.admit(&user.name, address).is_ok());
    assert_eq!(house.verifier.counts().accepted, 1);
}

#[test]
fn an_attempt_prints_no_password() {
    let (user, password) = (user("u", &["hunter2"]), secret("hunter2"));
    let address = IpAddr::from([127, 0, 0, 1]);
    let attempt = Attempt { user: &user.name, password: &password, address, hashes: user.hashes };
    assert!(!format!("{attempt:?}").contains("hunter2"), "{attempt:?}");
}

/// With the hashes and the threads of real life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_users_at_once_are_all_let_in_and_nobody_else() {
    let verifier = Verifier::new(VerifierSettings::default(), ProcessKey::new(&[6; 32]));
    let (inside, outside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut logins = Vec::new();
    for n in 0..200u8 {
        let (verifier, inside, outside) = (verifier.clone(), inside.clone(), outside.clone());
        logins.push(tokio::spawn(async move {
            let user = user(&format!("user {n}"), &[&format!("password {n}")]);
            let given = format!("password {}", n - n % 2);
            match login(verifier, user, given, n).await {
                Ok(_) => inside.fetch_add(1, Ordering::Relaxed),
                Err(_) => outside.fetch_add(1, Ordering::Relaxed),
            }
        }));
    }
    for login in logins {
        login.await.expect("no panic");
    }
    assert_eq!((inside.load(Ordering::Relaxed), outside.load(Ordering::Relaxed)), (100, 100));
}
