//! Field tables of AMQP 0-9-1 as text: a value that is no text has its type in front, `i64:5`.

use super::said::{Said, octets, shown};

pub fn short(out: &mut Vec<u8>, text: &str) {
    short_octets(out, text.as_bytes());
}

pub fn short_octets(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(u8::try_from(octets.len()).expect("a short string"));
    out.extend_from_slice(octets);
}

/// A table with its length in front.
pub fn write(out: &mut Vec<u8>, fields: &Said) {
    let mut inner = Vec::new();
    for (name, value) in &fields.0 {
        short(&mut inner, name);
        field(&mut inner, value);
    }
    long(out, &inner);
}

fn long(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend((octets.len() as u32).to_be_bytes());
    out.extend_from_slice(octets);
}

fn field(out: &mut Vec<u8>, value: &str) {
    let (code, text) = value.split_once(':').unwrap_or(("", value));
    let number = || text.parse::<i64>().expect("a whole number");
    match code {
        "b" => out.extend([b't', u8::from(text == "true")]),
        "i8" => out.extend([b'b', number() as u8]),
        "i16" => out.extend([&[b's'][..], &(number() as i16).to_be_bytes()].concat()),
        "i32" => out.extend([&[b'I'][..], &(number() as i32).to_be_bytes()].concat()),
        "i64" => out.extend([&[b'l'][..], &number().to_be_bytes()].concat()),
        "f64" => {
            let number: f64 = text.parse().expect("a number");
            out.extend([&[b'd'][..], &number.to_be_bytes()].concat());
        }
        // Seconds, as they are on the wire.
        "ts" => out.extend([&[b'T'][..], &number().to_be_bytes()].concat()),
        "null" => out.push(b'V'),
        "bin" => {
            out.push(b'x');
            long(out, &octets(&format!("hex:{text}")));
        }
        // A decimal with two digits behind the point.
        "dec" => {
            let digits: i32 = text.replace('.', "").parse().expect("a number");
            out.extend([b'D', 2]);
            out.extend(digits.to_be_bytes());
        }
        // A list of texts.
        "list" => {
            let mut inner = Vec::new();
            text.split(',').for_each(|text| field(&mut inner, text));
            out.push(b'A');
            long(out, &inner);
        }
        _ => {
            out.push(b'S');
            long(out, &octets(value));
        }
    }
}

/// Reads what the broker sent; it is trusted to be well-formed.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }

    fn number(&mut self, octets: usize) -> u64 {
        self.take(octets).iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    pub fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    pub fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    pub fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    pub fn u64(&mut self) -> u64 {
        self.number(8)
    }

    pub fn short_octets(&mut self) -> &'a [u8] {
        let count = usize::from(self.u8());
        self.take(count)
    }

    pub fn short(&mut self) -> String {
        String::from_utf8_lossy(self.short_octets()).into_owned()
    }

    fn long(&mut self) -> &'a [u8] {
        let count = self.u32() as usize;
        self.take(count)
    }

    pub fn table(&mut self) -> Vec<(String, String)> {
        let mut inner = Reader(self.long());
        let mut fields = Vec::new();
        while !inner.0.is_empty() {
            let name = inner.short();
            fields.push((name, inner.field()));
        }
        fields
    }

    fn field(&mut self) -> String {
        match self.u8() {
            b'S' => shown(self.long()),
            b't' => format!("b:{}", self.u8() == 1),
            b'b' => format!("i8:{}", self.u8() as i8),
            b'B' => format!("u8:{}", self.u8()),
            b's' => format!("i16:{}", self.u16() as i16),
            b'u' => format!("u16:{}", self.u16()),
            b'I' => format!("i32:{}", self.u32() as i32),
            b'i' => format!("u32:{}", self.u32()),
            b'l' => format!("i64:{}", self.u64() as i64),
            b'T' => format!("ts:{}", self.u64()),
            b'd' => format!("f64:{}", f64::from_bits(self.u64())),
            b'f' => format!("f32:{}", f32::from_bits(self.u32())),
            b'V' => "null:".to_owned(),
            b'x' => {
                let octets = self.long();
                format!("bin:{}", octets.iter().map(|b| format!("{b:02x}")).collect::<String>())
            }
            b'D' => {
                let scale = self.u8();
                format!("dec:{}e-{scale}", self.u32() as i32)
            }
            b'A' => {
                let mut inner = Reader(self.long());
                let mut items = Vec::new();
                while !inner.0.is_empty() {
                    items.push(inner.field());
                }
                format!("[{}]", items.join(", "))
            }
            b'F' => {
                let pairs = self.table().into_iter().map(|(name, value)| format!("{name}={value}"));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
            other => panic!("a field of type {other}"),
        }
    }
}
