//! The words of a selector: names, literals and signs, each with its byte offset.

/// A word of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// A keyword or a name; keywords are compared without case.
    Word(&'a str),
    /// A name in double quotes.
    Quoted(String),
    Text(String),
    /// Up to `i64::MAX + 1`, which only a minus sign makes valid.
    Int(u64),
    Float(f64),
    Sign(&'static str),
    End,
}

/// What is wrong, at which byte.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mistake {
    pub at: usize,
    pub reason: String,
}

impl Mistake {
    pub(super) fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}

/// Longer ones first.
const SIGNS: [&str; 14] =
    ["<>", "<=", ">=", "!=", "=", "<", ">", "(", ")", ",", "+", "-", "*", "/"];

/// Cuts the text into tokens.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, from: usize) -> Self {
        Self { text, at: from }
    }

    /// The next token and where it begins. After the last one it is `End` for ever.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), Mistake> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        let (rest, at) = (self.rest(), self.at);
        let Some(first) = rest.chars().next() else { return Ok((Token::End, at)) };
        let second = rest.as_bytes().get(1).copied().unwrap_or_default();
        let token = match first {
            '\'' => Token::Text(self.quoted('\'')?),
            '"' => Token::Quoted(self.quoted('"')?),
            '0'..='9' => self.number()?,
            '.' if second.is_ascii_digit() => self.number()?,
            c if is_name_start(c) => {
                let length = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
                self.at += length;
                Token::Word(rest.get(..length).unwrap_or_default())
            }
            c => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| Mistake::new(at, format!("unexpected '{c}'")))?;
                self.at += sign.len();
                Token::Sign(sign)
            }
        };
        Ok((token, at))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Text between two marks; a doubled mark is one mark.
    fn quoted(&mut self, mark: char) -> Result<String, Mistake> {
        let start = self.at;
        let mut text = String::new();
        self.at += 1;
        loop {
            let rest = self.rest();
            let Some(length) = rest.find(mark) else {
                return Err(Mistake::new(start, format!("{mark} without an end")));
            };
            text.push_str(rest.get(..length).unwrap_or_default());
            self.at += length + 1;
            if !self.rest().starts_with(mark) {
                return Ok(text);
            }
            text.push(mark);
            self.at += 1;
        }
    }

    /// Number literals are Java's (JMS 2.0 §3.8.1.1): decimal, hexadecimal, octal with a leading 0, an `L`; or
    /// with a point, an exponent, an `f` or a `d`.
    fn number(&mut self) -> Result<Token<'a>, Mistake> {
        let (at, rest) = (self.at, self.rest());
        if rest.starts_with("0x") || rest.starts_with("0X") {
            let digits = rest.get(2..).unwrap_or_default();
            let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            self.at += 2 + length;
            return self.integer(at, digits.get(..length).unwrap_or_default(), 16);
        }
        let length = number_length(rest);
        let text = rest.get(..length).unwrap_or_default();
        self.at += length;
        let is_float = text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E'));
        if is_float || self.suffix(b"fFdD") {
            if is_float {
                self.suffix(b"fFdD");
            }
            self.no_name_follows(at)?;
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
            return number
                .map(Token::Float)
                .ok_or_else(|| Mistake::new(at, format!("'{text}' is not a number")));
        }
        match text.len() > 1 && text.starts_with('0') {
            true => self.integer(at, text, 8),
            false => self.integer(at, text, 10),
        }
    }

    fn integer(&mut self, at: usize, digits: &str, radix: u32) -> Result<Token<'a>, Mistake> {
        self.suffix(b"lL");
        self.no_name_follows(at)?;
        let number = u64::from_str_radix(digits, radix).ok();
        number.filter(|n| *n <= i64::MAX as u64 + 1).map(Token::Int).ok_or_else(|| {
            let system = if radix == 8 { " (a leading 0 makes it octal)" } else { "" };
            Mistake::new(at, format!("'{digits}' is not a whole number of 64 bits{system}"))
        })
    }

    fn suffix(&mut self, letters: &[u8]) -> bool {
        let found = self.rest().as_bytes().first().is_some_and(|b| letters.contains(b));
        self.at += usize::from(found);
        found
    }

    fn no_name_follows(&self, at: usize) -> Result<(), Mistake> {
        match self.rest().chars().next() {
            Some(c) if is_name_part(c) => {
                Err(Mistake::new(at, format!("'{c}' right after a number")))
            }
            _ => Ok(()),
        }
    }
}

/// Bytes of digits, one point and an exponent.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| from + bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|b| any.contains(b));
    let mut end = digits(0);
    if is(end, b".") {
        end = digits(end + 1);
    }
    if is(end, b"eE") {
        let from = if is(end + 1, b"+-") { end + 2 } else { end + 1 };
        let after = digits(from);
        end = if after > from { after } else { end };
    }
    end
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

/// A dot is part of a name, so that `mq.error.kind` needs no quotes.
fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_numeric() || c == '.'
}
