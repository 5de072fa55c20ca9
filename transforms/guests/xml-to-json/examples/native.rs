//! What the transform costs without a sandbox: `cargo run --release --example native -- FILE SECONDS` does on this
//! machine what `crossdock transform bench examples/xml-to-json.wasm --sample FILE` does in the sandbox, and prints the
//! same.

use std::hint::black_box;
use std::time::{Duration, Instant};
use xml_to_json::{Options, convert_body};

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("name a file")?;
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse());
    let time = Duration::from_secs(seconds.map_err(|error| format!("seconds: {error}"))?);
    let body = std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?;
    let options = Options::parse("{}")?;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let started = Instant::now();
        black_box(convert_body(black_box(&body), None, &options)?);
        took.push(started.elapsed());
    }
    let all = begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |part: usize| took[(took.len() * part / 1_000).min(took.len() - 1)];
    println!("{:.0} messages a second", took.len() as f64 / all);
    println!("half of them take {:.1?}, 99 % at most {:.1?}", at(500), at(990));
    Ok(())
}
