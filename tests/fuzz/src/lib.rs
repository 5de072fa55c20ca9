//! Runs a fuzz body in the ordinary tests: over every file of its corpus, over noise, and over files of the corpus with
//! a few bytes changed. The bodies are in the crates whose codecs they try (`src/fuzz.rs`); tests/fuzz/README.md says
//! how libFuzzer runs the same ones.
#![forbid(unsafe_code)]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use std::path::{Path, PathBuf};

/// Inputs of noise, and as many of changed files.
const CASES: u32 = 512;
/// Bytes of noise at most.
const NOISE_BYTES: usize = 300;
/// Bytes changed in one file at most.
const CHANGES: usize = 4;

/// Panics with the smallest input found for which `body` panics.
pub fn check(corpus: &str, body: fn(&[u8])) {
    let files = files(corpus);
    for (path, bytes) in &files {
        // Shown when the test fails: the last line is the file that did it.
        println!("{}", path.display());
        body(bytes);
    }
    let noise = prop::collection::vec(any::<u8>(), 0..NOISE_BYTES);
    run(noise, body);
    let change = (any::<Index>(), any::<u8>());
    let changed = (any::<Index>(), prop::collection::vec(change, 1..=CHANGES));
    let changed = changed.prop_map(move |(which, changes)| {
        let mut bytes = which.get(&files).1.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    run(changed, body);
}

fn run(inputs: impl Strategy<Value = Vec<u8>>, body: fn(&[u8])) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&inputs, |bytes| {
        body(&bytes);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// The corpus's files that are not empty; at least one.
fn files(corpus: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(corpus);
    let entries = std::fs::read_dir(&folder).expect("the corpus is a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).expect("a file"));
    let files: Vec<_> = paths.into_iter().map(read).filter(|(_, b)| !b.is_empty()).collect();
    assert!(!files.is_empty(), "{} holds nothing", folder.display());
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_panics_fails_with_its_smallest_input() {
        let outcome = std::panic::catch_unwind(|| {
            run(prop::collection::vec(any::<u8>(), 0..NOISE_BYTES), |bytes| {
                assert!(!bytes.contains(&7));
            });
        });
        let failure = outcome.expect_err("it fails");
        let text = failure.downcast_ref::<String>().expect("a text");
        assert!(text.contains("[\n    7,\n]") || text.contains("[7]"), "{text}");
    }
}
