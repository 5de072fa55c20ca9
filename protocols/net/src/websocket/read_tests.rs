//! Frames in any order and cut anywhere, read into buffers of any size.

use super::*;
use crate::websocket::open;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The next of a row of numbers, below `limit`.
fn next(state: &mut u64, limit: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % limit
}

fn put(first: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        middle @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Everything that is read of these bytes when they come in pieces, and how it ends.
async fn read(bytes: Vec<u8>, state: &mut u64) -> (Vec<u8>, Option<io::Error>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(near);
    let cut = next(state, bytes.len() + 1);
    let before = BytesMut::from(&bytes[..cut]);
    let (mut reader, _writer) = open(Box::new(reader), before, Box::new(writer), (false, false, 0));
    let (mut far_reader, mut far_writer) = tokio::io::split(far);
    let mut seed = *state;
    let writing = tokio::spawn(async move {
        let mut rest = &bytes[cut..];
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + next(&mut seed, rest.len().min(5000)));
            rest = behind;
            if far_writer.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = far_writer.shutdown().await;
    });
    let answers = tokio::spawn(async move {
        let mut answers = Vec::new();
        let _ = far_reader.read_to_end(&mut answers).await;
    });
    let mut got = Vec::new();
    let end = loop {
        let mut buffer = vec![0; 1 + next(state, 9000)];
        match reader.read(&mut buffer).await {
            Ok(0) => break None,
            Ok(n) => got.extend_from_slice(&buffer[..n]),
            Err(error) => break Some(error),
        }
    };
    drop((reader, _writer));
    writing.await.unwrap();
    answers.await.unwrap();
    (got, end)
}

#[tokio::test]
async fn payload_comes_out_whole_however_it_comes() {
    let state = &mut 1;
    for _ in 0..200 {
        let (mut bytes, mut want, mut unfinished) = (Vec::new(), Vec::new(), false);
        for _ in 0..next(state, 30) {
            let size = [3, 125, 200, 7000, 70_000][next(state, 5)];
            let payload: Vec<u8> = (0..next(state, size)).map(|_| next(state, 256) as u8).collect();
            let mask = std::array::from_fn(|_| next(state, 256) as u8);
            if next(state, 4) == 0 {
                let first = [0x89, 0x8a][next(state, 2)];
                put(first, &payload[..payload.len().min(125)], mask, &mut bytes);
            } else {
                let last = next(state, 2) == 0;
                let first = if last { 0x80 } else { 0 } | if unfinished { 0 } else { 2 };
                put(first, &payload, mask, &mut bytes);
                want.extend_from_slice(&payload);
                unfinished = !last;
            }
        }
        let (got, end) = read(bytes, state).await;
        assert!(got == want && end.is_none(), "{} of {} bytes, {end:?}", got.len(), want.len());
    }
}

#[tokio::test]
async fn bytes_of_chance_end_a_connection_and_nothing_else() {
    let state = &mut 2;
    let mut refused = 0;
    for _ in 0..2000 {
        let bytes = (0..next(state, 300)).map(|_| next(state, 256) as u8).collect();
        let (_, end) = read(bytes, state).await;
        refused += usize::from(end.is_some());
    }
    assert!(refused > 1000, "{refused} were refused");
}
