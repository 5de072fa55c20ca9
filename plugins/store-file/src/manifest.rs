//! The manifest: which segments are live, how the sealed ones end, how often the store was started. Every change writes
//! a new file and renames it. A segment that the manifest does not list holds nothing that was acknowledged.

use crate::disk::{Disk, read_whole, sync_names};
use crate::layout::{Bad, FORMAT, u32_at, u64_at};
use crc32c::crc32c;
use crossdock_core::store::ENTRY_FORMAT;
use std::io;

/// Name of the file.
pub const MANIFEST: &str = "manifest";

const MANIFEST_NEW: &str = "manifest.tmp";
const MAGIC: [u8; 8] = *b"XDKMANIF";
const HEAD: usize = 32;
const LISTED: usize = 24;
const BYTES_MAX: u64 = 64 << 20;

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentEnd {
    /// It is the segment that is written to; all up to this position were synced when the manifest was written.
    Open { synced: u64 },
    /// It is sealed; `last` is its last position, `crc` the checksum of its last record.
    Sealed { last: u64, crc: u32 },
    /// It is sealed, and its last position is not known, because the manifest was rebuilt.
    Unknown,
}

/// A live segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Position of its first record.
    pub first: u64,
    pub end: SegmentEnd,
}

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Starts of the store so far; the epoch of this one.
    pub boots: u64,
    /// The salt with which the checksums of records begin.
    pub salt: u32,
    /// What the entries may hold that were written by the newest program so far: its [`ENTRY_FORMAT`].
    pub entry_format: u32,
    /// In the order of their positions; the last one is open.
    pub segments: Vec<Listed>,
}

impl Manifest {
    /// Of a store without segments.
    pub fn fresh(salt: u32) -> Self {
        Self { boots: 0, salt, entry_format: 0, segments: Vec::new() }
    }

    /// All entries up to this position are synced.
    pub fn set_synced(&mut self, upto: u64) {
        if let Some(Listed { end: SegmentEnd::Open { synced }, .. }) = self.segments.last_mut() {
            *synced = upto;
        }
    }

    /// Reads the manifest of a folder; none if the file does not exist.
    pub fn load(disk: &dyn Disk) -> io::Result<Option<Result<Self, Bad>>> {
        let file = match disk.open(MANIFEST) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match read_whole(&*file, BYTES_MAX) {
            Ok(bytes) => Ok(Some(Self::read(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Ok(Some(Err(Bad::Damaged("manifest is too large"))))
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the manifest of a folder. After an error the folder has the old or the new one.
    pub fn store(&self, disk: &dyn Disk) -> io::Result<()> {
        let written = disk.create(MANIFEST_NEW).and_then(|file| {
            file.write_at(0, &self.to_bytes())?;
            file.sync()?;
            disk.rename(MANIFEST_NEW, MANIFEST)
        });
        if written.is_err() {
            // The next attempt uses a new file: syncing this one again would prove nothing.
            let _ = disk.remove(MANIFEST_NEW);
        }
        written?;
        sync_names(disk)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.segments.len() * LISTED + 4);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.boots.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.entry_format.to_le_bytes());
        for listed in &self.segments {
            let (state, last, crc) = match listed.end {
                SegmentEnd::Open { synced } => (0u32, synced, 0),
                SegmentEnd::Sealed { last, crc } => (1, last, crc),
                SegmentEnd::Unknown => (2, 0, 0),
            };
            out.extend_from_slice(&listed.first.to_le_bytes());
            out.extend_from_slice(&last.to_le_bytes());
            out.extend_from_slice(&crc.to_le_bytes());
            out.extend_from_slice(&state.to_le_bytes());
        }
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let split = bytes.len().checked_sub(4).and_then(|at| bytes.split_at_checked(at));
        let Some((covered, crc)) = split else {
            return Err(Bad::Damaged("manifest is cut off"));
        };
        if !covered.starts_with(&MAGIC) || u32_at(crc, 0) != Some(crc32c(covered)) {
            return Err(Bad::Damaged("manifest fails its checksum"));
        }
        match u32_at(covered, 8) {
            Some(version) if version > FORMAT => return Err(Bad::Newer(version)),
            Some(FORMAT) => {}
            _ => return Err(Bad::Damaged("manifest has no version")),
        }
        let manifest = Self::read_body(covered).ok_or(Bad::Damaged("manifest is inconsistent"))?;
        match manifest.entry_format {
            newer if newer > ENTRY_FORMAT => Err(Bad::NewerEntries(newer)),
            _ => Ok(manifest),
        }
    }

    fn read_body(covered: &[u8]) -> Option<Self> {
        let listed = covered.get(HEAD..)?;
        let segments: Option<Vec<Listed>> = listed.chunks(LISTED).map(read_listed).collect();
        let segments = segments?;
        let counted = segments.len() == u32_at(covered, 12)? as usize;
        let sorted = segments.is_sorted_by(|a, b| a.first < b.first);
        (counted && sorted).then_some(Self {
            boots: u64_at(covered, 16)?,
            salt: u32_at(covered, 24)?,
            entry_format: u32_at(covered, 28)?,
            segments,
        })
    }
}

fn read_listed(bytes: &[u8]) -> Option<Listed> {
    let (first, last, crc) = (u64_at(bytes, 0)?, u64_at(bytes, 8)?, u32_at(bytes, 16)?);
    let end = match u32_at(bytes, 20)? {
        0 => SegmentEnd::Open { synced: last },
        1 => SegmentEnd::Sealed { last, crc },
        2 => SegmentEnd::Unknown,
        _ => return None,
    };
    Some(Listed { first, end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyDisk;

    fn manifest() -> Manifest {
        let segments = vec![
            Listed { first: 1, end: SegmentEnd::Sealed { last: 9, crc: 77 } },
            Listed { first: 10, end: SegmentEnd::Unknown },
            Listed { first: 20, end: SegmentEnd::Open { synced: 22 } },
        ];
        Manifest { boots: 3, salt: 4, entry_format: 1, segments }
    }

    #[test]
    fn it_is_read_back_and_every_flipped_bit_is_seen() {
        let bytes = manifest().to_bytes();
        assert_eq!(Manifest::read(&bytes), Ok(manifest()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Manifest::read(&bad), Err(Bad::Damaged(_))), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(matches!(Manifest::read(&bytes[..length]), Err(Bad::Damaged(_))));
        }
    }

    #[test]
    fn entries_of_a_newer_program_are_told_from_damage() {
        let newer = Manifest { entry_format: ENTRY_FORMAT + 1, ..manifest() };
        let read = Manifest::read(&newer.to_bytes());
        assert_eq!(read, Err(Bad::NewerEntries(ENTRY_FORMAT + 1)));
        // Stores from before this number have 0 there.
        let first = Manifest { entry_format: 0, ..manifest() };
        assert_eq!(Manifest::read(&first.to_bytes()), Ok(first));
    }

    #[test]
    fn a_crash_leaves_the_old_one_or_the_new_one() {
        let old = manifest();
        let new = Manifest { boots: 4, ..manifest() };
        for calls in 0..8 {
            for seed in 0..8 {
                let disk = FaultyDisk::default();
                old.store(&disk).expect("no fault");
                disk.fail_after(calls, io::ErrorKind::Other);
                let stored = new.store(&disk).is_ok();
                let found = Manifest::load(&disk.crash(seed)).expect("readable").expect("there");
                let found = found.expect("whole");
                assert!(found == new || (!stored && found == old), "{calls} {seed}");
            }
        }
    }
}
