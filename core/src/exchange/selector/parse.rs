//! From text to expression: precedence climbing. `OR` binds least, then `AND`, `NOT`, comparisons, sums, products,
//! signs.

use super::expr::{Arithmetic, Case, Comparison, Expr, List};
use super::lex::{Lexer, Mistake, Token};
use super::like::Pattern;
use super::names::Slot;
use super::{BODY_USES_MAX, DEPTH_MAX, Path, PathKind};

/// A compiled text.
pub(super) struct Parsed {
    pub root: Expr,
    pub paths: Vec<Path>,
    pub body_uses: usize,
}

/// Compiles the text from this byte on.
pub(super) fn parse(text: &str, from: usize) -> Result<Parsed, Mistake> {
    let mut lexer = Lexer::new(text, from);
    let (token, at) = lexer.next()?;
    let mut parser = Parser { lexer, token, at, level: 0, paths: Vec::new(), body_uses: 0 };
    let root = parser.expression(Power::OR)?;
    match parser.token {
        Token::End => {
            Ok(Parsed { root: root.expr, paths: parser.paths, body_uses: parser.body_uses })
        }
        _ => Err(parser.unexpected("the end")),
    }
}

/// How tightly an operator binds.
struct Power;

impl Power {
    const OR: u8 = 1;
    const AND: u8 = 2;
    const NOT: u8 = 3;
    const COMPARE: u8 = 4;
    const SUM: u8 = 5;
    const PRODUCT: u8 = 6;
    const SIGN: u8 = 7;
}

/// Words that are never a name, in upper case.
const RESERVED: [&str; 16] = [
    "AND", "BETWEEN", "CASE", "ELSE", "END", "ESCAPE", "FALSE", "IN", "IS", "LIKE", "NOT", "NULL",
    "OR", "THEN", "TRUE", "WHEN",
];

/// An expression and how deep it is.
struct Node {
    expr: Expr,
    depth: usize,
}

impl Node {
    fn leaf(expr: Expr) -> Self {
        Self { expr, depth: 1 }
    }
}

/// An operator that stands after its first operand.
#[derive(Clone, Copy)]
enum Infix {
    Or,
    And,
    Compare(Comparison),
    Arithmetic(Arithmetic),
    Is,
    In,
    Between,
    Like,
    /// `NOT` before `IN`, `BETWEEN` or `LIKE`.
    Not,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    at: usize,
    level: usize,
    paths: Vec<Path>,
    body_uses: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self, least: u8) -> Result<Node, Mistake> {
        if self.level == DEPTH_MAX {
            return Err(self.too_deep());
        }
        self.level += 1;
        let mut left = self.prefix()?;
        while let Some((infix, power)) = self.infix() {
            if power < least {
                break;
            }
            self.advance()?;
            left = self.after(left, infix, power)?;
        }
        self.level -= 1;
        Ok(left)
    }

    fn prefix(&mut self) -> Result<Node, Mistake> {
        if self.take_word("NOT")? {
            let inner = self.expression(Power::NOT)?;
            return self.unary(inner, Expr::Not);
        }
        if self.take_sign("(")? {
            let inner = self.expression(Power::OR)?;
            self.need_sign(")")?;
            return Ok(inner);
        }
        if self.take_sign("+")? {
            return self.expression(Power::SIGN);
        }
        if self.take_sign("-")? {
            if let Token::Int(n) = self.token {
                self.advance()?;
                // The most negative number is not the negative of any.
                let number = i64::try_from(-i128::from(n)).unwrap_or(i64::MIN);
                return Ok(Node::leaf(Expr::Int(number)));
            }
            let inner = self.expression(Power::SIGN)?;
            return self.unary(inner, Expr::Negate);
        }
        self.operand()
    }

    fn operand(&mut self) -> Result<Node, Mistake> {
        let at = self.at;
        let expr = match self.advance()? {
            Token::Int(n) => match i64::try_from(n) {
                Ok(n) => Expr::Int(n),
                Err(_) => return Err(Mistake::new(at, format!("{n} is too large"))),
            },
            Token::Float(n) => Expr::Float(n),
            Token::Text(text) => Expr::Text(text.into()),
            Token::Quoted(name) => Expr::Slot(Slot::Header(name.into())),
            Token::Word(word) => return self.word(word, at),
            token => return Err(unexpected(at, &token, "a value")),
        };
        Ok(Node::leaf(expr))
    }

    fn word(&mut self, word: &str, at: usize) -> Result<Node, Mistake> {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if is("CASE") {
            return self.case();
        }
        if self.token == Token::Sign("(") {
            return self.path(word, at);
        }
        let expr = match word {
            _ if is("TRUE") => Expr::Bool(true),
            _ if is("FALSE") => Expr::Bool(false),
            _ if is("NULL") => Expr::Null,
            _ if is_reserved(word) => {
                return Err(Mistake::new(at, format!("unexpected '{word}', expected a value")));
            }
            name => Expr::Slot(Slot::named(name)),
        };
        if matches!(expr, Expr::Slot(Slot::Body)) {
            self.count_body_use(at)?;
        }
        Ok(Node::leaf(expr))
    }

    /// `json('..')` or `xml('..')`; the same path twice is looked up in one place.
    fn path(&mut self, function: &str, at: usize) -> Result<Node, Mistake> {
        let kind = match function {
            f if f.eq_ignore_ascii_case("json") => PathKind::Json,
            f if f.eq_ignore_ascii_case("xml") => PathKind::Xml,
            _ => return Err(Mistake::new(at, format!("unknown function '{function}'"))),
        };
        self.need_sign("(")?;
        let offset = self.at;
        let text = self.need_text("a path in quotes")?;
        self.need_sign(")")?;
        self.count_body_use(at)?;
        let known = self.paths.iter().position(|path| path.kind == kind && *path.text == *text);
        let index = known.unwrap_or_else(|| {
            let index = self.paths.len();
            self.paths.push(Path { index, kind, text: text.into(), offset });
            index
        });
        Ok(Node::leaf(Expr::Path(index)))
    }

    fn count_body_use(&mut self, at: usize) -> Result<(), Mistake> {
        self.body_uses += 1;
        match self.body_uses > BODY_USES_MAX {
            true => Err(Mistake::new(
                at,
                format!("looks into the body more than {BODY_USES_MAX} times"),
            )),
            false => Ok(()),
        }
    }

    fn case(&mut self) -> Result<Node, Mistake> {
        let mut depth = 0;
        let mut keep = |node: Node| {
            depth = depth.max(node.depth);
            node.expr
        };
        let subject = match self.is_word("WHEN") {
            true => None,
            false => Some(keep(self.expression(Power::OR)?)),
        };
        let mut arms = Vec::new();
        while self.take_word("WHEN")? {
            let when = keep(self.expression(Power::OR)?);
            self.need_word("THEN")?;
            arms.push((when, keep(self.expression(Power::OR)?)));
        }
        if arms.is_empty() {
            return Err(self.unexpected("WHEN"));
        }
        let otherwise = match self.take_word("ELSE")? {
            true => Some(keep(self.expression(Power::OR)?)),
            false => None,
        };
        self.need_word("END")?;
        self.node(Expr::Case(Box::new(Case { subject, arms, otherwise })), depth)
    }

    /// The operator at hand, if there is one.
    fn infix(&self) -> Option<(Infix, u8)> {
        let compare = |c| Some((Infix::Compare(c), Power::COMPARE));
        match &self.token {
            Token::Sign(sign) => match *sign {
                "=" => compare(Comparison::Equal),
                "<>" | "!=" => compare(Comparison::Unequal),
                "<" => compare(Comparison::Less),
                "<=" => compare(Comparison::LessOrEqual),
                ">" => compare(Comparison::Greater),
                ">=" => compare(Comparison::GreaterOrEqual),
                "+" => Some((Infix::Arithmetic(Arithmetic::Add), Power::SUM)),
                "-" => Some((Infix::Arithmetic(Arithmetic::Subtract), Power::SUM)),
                "*" => Some((Infix::Arithmetic(Arithmetic::Multiply), Power::PRODUCT)),
                "/" => Some((Infix::Arithmetic(Arithmetic::Divide), Power::PRODUCT)),
                _ => None,
            },
            Token::Word(_) => {
                const WORDS: [(&str, Infix, u8); 7] = [
                    ("OR", Infix::Or, Power::OR),
                    ("AND", Infix::And, Power::AND),
                    ("IS", Infix::Is, Power::COMPARE),
                    ("IN", Infix::In, Power::COMPARE),
                    ("BETWEEN", Infix::Between, Power::COMPARE),
                    ("LIKE", Infix::Like, Power::COMPARE),
                    ("NOT", Infix::Not, Power::COMPARE),
                ];
                let known = WORDS.iter().find(|(word, ..)| self.is_word(word));
                known.map(|(_, infix, power)| (*infix, *power))
            }
            _ => None,
        }
    }

    fn after(&mut self, left: Node, infix: Infix, power: u8) -> Result<Node, Mistake> {
        match infix {
            Infix::Or | Infix::And => self.chain(left, infix, power),
            Infix::Compare(comparison) => {
                let right = self.expression(power + 1)?;
                self.binary(left, right, |pair| Expr::Compare(comparison, pair))
            }
            Infix::Arithmetic(arithmetic) => {
                let right = self.expression(power + 1)?;
                self.binary(left, right, |pair| Expr::Arithmetic(arithmetic, pair))
            }
            Infix::Is => {
                let not = self.take_word("NOT")?;
                self.need_word("NULL")?;
                let is_null = self.unary(left, Expr::IsNull)?;
                self.negated(is_null, not)
            }
            Infix::Not => {
                let tested = match &self.token {
                    _ if self.take_word("IN")? => self.in_list(left)?,
                    _ if self.take_word("BETWEEN")? => self.between(left)?,
                    _ if self.take_word("LIKE")? => self.like(left)?,
                    _ => return Err(self.unexpected("IN, BETWEEN or LIKE after NOT")),
                };
                self.negated(tested, true)
            }
            Infix::In => self.in_list(left),
            Infix::Between => self.between(left),
            Infix::Like => self.like(left),
        }
    }

    /// A chain of `AND` or of `OR` is one flat node, so that its length is not nesting.
    fn chain(&mut self, left: Node, infix: Infix, power: u8) -> Result<Node, Mistake> {
        let right = self.expression(power + 1)?;
        let depth = (left.depth - 1).max(right.depth);
        match (infix, left.expr) {
            (Infix::And, Expr::And(mut all)) => {
                all.push(right.expr);
                self.node(Expr::And(all), depth)
            }
            (Infix::Or, Expr::Or(mut any)) => {
                any.push(right.expr);
                self.node(Expr::Or(any), depth)
            }
            (Infix::And, first) => {
                self.node(Expr::And(vec![first, right.expr]), left.depth.max(right.depth))
            }
            (_, first) => self.node(Expr::Or(vec![first, right.expr]), left.depth.max(right.depth)),
        }
    }

    fn in_list(&mut self, left: Node) -> Result<Node, Mistake> {
        self.need_sign("(")?;
        let mut list = List::default();
        loop {
            let at = self.at;
            match self.prefix()?.expr {
                Expr::Text(text) => list.texts.push(text),
                literal @ (Expr::Int(_) | Expr::Float(_) | Expr::Bool(_)) => {
                    list.others.push(literal);
                }
                _ => return Err(Mistake::new(at, "IN takes literals only")),
            }
            if !self.take_sign(",")? {
                break;
            }
        }
        self.need_sign(")")?;
        list.texts.sort_unstable();
        self.unary(left, |value| Expr::In(value, list))
    }

    fn between(&mut self, left: Node) -> Result<Node, Mistake> {
        let low = self.expression(Power::SUM)?;
        self.need_word("AND")?;
        let high = self.expression(Power::SUM)?;
        let depth = left.depth.max(low.depth).max(high.depth);
        self.node(Expr::Between(Box::new([left.expr, low.expr, high.expr])), depth)
    }

    fn like(&mut self, left: Node) -> Result<Node, Mistake> {
        let at = self.at;
        let text = self.need_text("a pattern in quotes")?;
        let mut escape = None;
        if self.take_word("ESCAPE")? {
            let at = self.at;
            let given = self.need_text("one character in quotes")?;
            let mut chars = given.chars();
            escape = chars.next();
            if escape.is_none() || chars.next().is_some() {
                return Err(Mistake::new(at, "ESCAPE takes exactly one character"));
            }
        }
        let pattern = Pattern::new(&text, escape).map_err(|reason| Mistake::new(at, reason))?;
        self.unary(left, |value| Expr::Like(value, pattern))
    }

    fn negated(&self, node: Node, not: bool) -> Result<Node, Mistake> {
        match not {
            true => self.unary(node, Expr::Not),
            false => Ok(node),
        }
    }

    fn unary(&self, node: Node, make: impl FnOnce(Box<Expr>) -> Expr) -> Result<Node, Mistake> {
        self.node(make(Box::new(node.expr)), node.depth)
    }

    fn binary(
        &self,
        left: Node,
        right: Node,
        make: impl FnOnce(Box<[Expr; 2]>) -> Expr,
    ) -> Result<Node, Mistake> {
        let depth = left.depth.max(right.depth);
        self.node(make(Box::new([left.expr, right.expr])), depth)
    }

    /// A node above others that are `inner` deep.
    fn node(&self, expr: Expr, inner: usize) -> Result<Node, Mistake> {
        match inner >= DEPTH_MAX {
            true => Err(self.too_deep()),
            false => Ok(Node { expr, depth: inner + 1 }),
        }
    }

    fn advance(&mut self) -> Result<Token<'a>, Mistake> {
        let (next, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_word(&mut self, keyword: &str) -> Result<bool, Mistake> {
        let found = self.is_word(keyword);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn need_word(&mut self, keyword: &str) -> Result<(), Mistake> {
        match self.take_word(keyword)? {
            true => Ok(()),
            false => Err(self.unexpected(keyword)),
        }
    }

    fn take_sign(&mut self, sign: &'static str) -> Result<bool, Mistake> {
        let found = self.token == Token::Sign(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn need_sign(&mut self, sign: &'static str) -> Result<(), Mistake> {
        match self.take_sign(sign)? {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{sign}'"))),
        }
    }

    fn need_text(&mut self, wanted: &str) -> Result<String, Mistake> {
        match &self.token {
            Token::Text(_) => match self.advance()? {
                Token::Text(text) => Ok(text),
                _ => Ok(String::new()),
            },
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn unexpected(&self, wanted: &str) -> Mistake {
        unexpected(self.at, &self.token, wanted)
    }

    fn too_deep(&self) -> Mistake {
        Mistake::new(self.at, format!("nested deeper than {DEPTH_MAX}"))
    }
}

fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

fn unexpected(at: usize, token: &Token<'_>, wanted: &str) -> Mistake {
    let found = match token {
        Token::Word(word) => format!("'{word}'"),
        Token::Quoted(name) => format!("\"{name}\""),
        Token::Text(text) => format!("the text '{}'", text.chars().take(32).collect::<String>()),
        Token::Int(n) => n.to_string(),
        Token::Float(n) => n.to_string(),
        Token::Sign(sign) => format!("'{sign}'"),
        Token::End => "the end".to_string(),
    };
    Mistake::new(at, format!("unexpected {found}, expected {wanted}"))
}
