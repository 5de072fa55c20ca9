//! The compiled form of a selector.

use super::like::Pattern;
use super::names::Slot;

/// One node. Operators over conditions and over values share the type: kinds are checked at evaluation, because a
/// header's kind is known only then.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Slot(Slot),
    /// Index into the selector's paths.
    Path(usize),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Compare(Comparison, Box<[Expr; 2]>),
    /// The value, the lower bound and the upper one.
    Between(Box<[Expr; 3]>),
    In(Box<Expr>, List),
    Like(Box<Expr>, Pattern),
    IsNull(Box<Expr>),
    Negate(Box<Expr>),
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    Case(Box<Case>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// The literals of an `IN`: texts sorted, for binary search.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    pub texts: Vec<Box<str>>,
    pub others: Vec<Expr>,
}

/// `CASE subject WHEN .. THEN .. ELSE .. END`; without a subject the arms are conditions.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub subject: Option<Expr>,
    pub arms: Vec<(Expr, Expr)>,
    pub otherwise: Option<Expr>,
}

impl Expr {
    /// Whether it can be true as a condition.
    pub(super) fn can_be_true(&self) -> bool {
        match self {
            Expr::Null | Expr::Int(_) | Expr::Float(_) | Expr::Text(_) => false,
            Expr::Negate(_) | Expr::Arithmetic(..) => false,
            Expr::Not(inner) => inner.can_be_true() || matches!(**inner, Expr::Bool(_)),
            Expr::And(all) => all.iter().all(Expr::can_be_true),
            Expr::Or(any) => any.iter().all(Expr::can_be_true),
            Expr::Case(case) => {
                case.arms.iter().any(|(_, then)| then.can_be_true())
                    || case.otherwise.as_ref().is_some_and(Expr::can_be_true)
            }
            _ => true,
        }
    }
}
