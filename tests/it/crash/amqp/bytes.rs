//! The bytes of AMQP 0-9-1: frames and arguments to be sent, and arguments that were received.

const METHOD: u8 = 1;
pub(super) const FRAME_END: u8 = 0xCE;

/// A value in a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    Text(String),
    Number(i64),
    Flag(bool),
    Texts(Vec<String>),
    Table(Vec<(&'static str, Field)>),
}

pub(super) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(FRAME_END);
    bytes
}

/// A method to be sent.
pub struct Out(pub(super) Vec<u8>);

impl Out {
    pub fn method((class, id): (u16, u16)) -> Self {
        Self(Vec::new()).u16(class).u16(id)
    }

    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn short(mut self, text: &str) -> Self {
        self.0.push(text.len() as u8);
        self.0.extend(text.bytes());
        self
    }

    pub fn long(self, bytes: &[u8]) -> Self {
        let mut out = self.u32(bytes.len() as u32);
        out.0.extend_from_slice(bytes);
        out
    }

    pub fn table(self, fields: &[(&str, Field)]) -> Self {
        let mut inner = Out(Vec::new());
        for (name, field) in fields {
            inner = inner.short(name);
            inner = match field {
                Field::Text(text) => inner.u8(b'S').long(text.as_bytes()),
                Field::Number(number) => inner.u8(b'l').u64(*number as u64),
                Field::Flag(flag) => inner.u8(b't').u8((*flag).into()),
                Field::Texts(texts) => {
                    let each = |list: Out, text: &String| list.u8(b'S').long(text.as_bytes());
                    inner.u8(b'A').long(&texts.iter().fold(Out(Vec::new()), each).0)
                }
                Field::Table(fields) => inner.u8(b'F').table(fields),
            };
        }
        self.long(&inner.0)
    }

    pub fn frame(&self, channel: u16) -> Vec<u8> {
        frame(METHOD, channel, &self.0)
    }
}

/// Received arguments. Missing bytes read as 0.
pub struct In<'a>(pub &'a [u8]);

impl In<'_> {
    fn number(&mut self, count: usize) -> u64 {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
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

    pub fn short(&mut self) -> String {
        let count = usize::from(self.u8()).min(self.0.len());
        let (text, rest) = self.0.split_at(count);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}
