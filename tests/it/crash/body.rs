//! Message bodies that name their sender and that can be checked to the last byte: all bytes behind the head are
//! computed from seed, stream, number and length.

use super::dice::Dice;

/// Mark, seed, stream, number, length, checksum.
const HEAD: usize = 22;
const MARK: u32 = 0x5844_4352;

/// The label in the head of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub seed: u32,
    /// The publisher's stream, in which messages are numbered.
    pub stream: u16,
    pub number: u32,
}

/// A body of `HEAD` and `filling` bytes.
pub fn make(label: Label, filling: usize) -> Vec<u8> {
    let length = HEAD + filling;
    let mut body = Vec::with_capacity(length + 8);
    body.extend(MARK.to_be_bytes());
    body.extend(label.seed.to_be_bytes());
    body.extend(label.stream.to_be_bytes());
    body.extend(label.number.to_be_bytes());
    body.extend((length as u32).to_be_bytes());
    body.extend([0; 4]);
    let mut dice =
        Dice::new(u64::from(label.number) << 32 | u64::from(label.stream)).fork(label.seed.into());
    while body.len() < length {
        body.extend(dice.next().to_be_bytes());
    }
    body.truncate(length);
    let sum = checksum(&body).to_be_bytes();
    body[HEAD - 4..HEAD].copy_from_slice(&sum);
    body
}

/// The label of an undamaged body, or what is wrong with the body.
pub fn read(body: &[u8]) -> Result<Label, String> {
    let word =
        |at: usize| body.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(MARK), Some(seed), Some(number)) = (word(0), word(4), word(10)) else {
        return Err(format!("{} bytes without a head", body.len()));
    };
    let label = Label { seed, stream: u16::from_be_bytes([body[8], body[9]]), number };
    if word(14) != Some(body.len() as u32) {
        return Err(format!("{label:?} says {:?} bytes and has {}", word(14), body.len()));
    }
    if body.len() < HEAD || body != make(label, body.len() - HEAD) {
        return Err(format!("{label:?} has other bytes than were sent"));
    }
    Ok(label)
}

/// A random length: most are small, some are a few pages, a few take many frames.
pub fn filling(dice: &mut Dice) -> usize {
    let most = match dice.below(200) {
        0 => return 200 << 10,
        1..=40 => 20 << 10,
        _ => 600,
    };
    dice.range(1, most) as usize
}

/// FNV-1a, folded.
fn checksum(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(0xCBF2_9CE4_8422_2325u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    (sum ^ (sum >> 32)) as u32
}

#[test]
fn bodies_are_checked_to_the_last_byte() {
    let label = Label { seed: 7, stream: 300, number: 70_000 };
    for filling in [1, 8, 600, 20_000] {
        let body = make(label, filling);
        assert_eq!(read(&body), Ok(label));
        for at in [0, 5, 9, 12, 15, HEAD - 1, HEAD, body.len() - 1] {
            let mut other = body.clone();
            other[at] ^= 1;
            assert!(read(&other).is_err() || read(&other) != Ok(label), "byte {at} of {filling}");
        }
        assert!(read(&body[..body.len() - 1]).is_err());
    }
    assert!(read(b"").is_err());
}
