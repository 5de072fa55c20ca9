//! Evaluation, in SQL's three-valued logic: `None` is "unknown". Recursion is bounded by the depth that the parser
//! allowed. Nothing is allocated except for properties that have no text of their own.

use super::expr::{Arithmetic, Case, Comparison, Expr, List};
use super::names::{Property, Slot};
use super::operand::Operand;
use super::{Input, Path};
use crate::message::{Id, ReplyTo, carry};
use std::borrow::Cow;
use std::cmp::Ordering;

/// JMS 2.0 §3.4.10: the priority of a message that does not say one.
const PRIORITY_DEFAULT: i64 = 4;

/// One evaluation.
pub(super) struct Eval<'a> {
    pub paths: &'a [Path],
    pub input: Input<'a>,
}

impl<'a> Eval<'a> {
    /// The expression as a condition.
    pub(super) fn truth(&self, expr: &'a Expr) -> Option<bool> {
        match expr {
            Expr::Not(inner) => self.truth(inner).map(|b| !b),
            Expr::And(all) => self.join(all, false),
            Expr::Or(any) => self.join(any, true),
            Expr::Compare(comparison, pair) => {
                let [left, right] = &**pair;
                self.compare(*comparison, &self.operand(left), &self.operand(right))
            }
            Expr::Between(three) => {
                let [value, low, high] = &**three;
                let value = self.operand(value);
                let above = self.compare(Comparison::GreaterOrEqual, &value, &self.operand(low));
                let below = self.compare(Comparison::LessOrEqual, &value, &self.operand(high));
                match (above, below) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                }
            }
            Expr::In(value, list) => self.is_in(&self.operand(value), list),
            Expr::Like(value, pattern) => match self.operand(value) {
                Operand::Null => None,
                Operand::Text(text) => Some(pattern.matches(&text)),
                _ => Some(false),
            },
            Expr::IsNull(value) => Some(self.operand(value) == Operand::Null),
            _ => match self.operand(expr) {
                Operand::Bool(b) => Some(b),
                Operand::Text(text) if self.input.coerce => Operand::bool_in(&text),
                _ => None,
            },
        }
    }

    /// The expression as a value.
    pub(super) fn operand(&self, expr: &'a Expr) -> Operand<'a> {
        match expr {
            Expr::Null => Operand::Null,
            Expr::Bool(b) => Operand::Bool(*b),
            Expr::Int(n) => Operand::Int(*n),
            Expr::Float(n) => Operand::Float(*n),
            Expr::Text(text) => Operand::text(text),
            Expr::Slot(slot) => self.slot(slot),
            Expr::Path(index) => match (self.paths.get(*index), self.input.access) {
                (Some(path), Some(access)) => access.path(path),
                _ => Operand::Null,
            },
            Expr::Negate(inner) => match self.number(self.operand(inner)) {
                Some(Operand::Int(n)) => {
                    n.checked_neg().map_or(Operand::Float(-(n as f64)), Operand::Int)
                }
                Some(Operand::Float(n)) => Operand::Float(-n),
                _ => Operand::Null,
            },
            Expr::Arithmetic(arithmetic, pair) => {
                let [left, right] = &**pair;
                let left = self.number(self.operand(left));
                let right = self.number(self.operand(right));
                match (left, right) {
                    (Some(left), Some(right)) => calculate(*arithmetic, &left, &right),
                    _ => Operand::Null,
                }
            }
            Expr::Case(case) => self.case(case),
            _ => self.truth(expr).map_or(Operand::Null, Operand::Bool),
        }
    }

    /// `AND` when the deciding value is false, `OR` when it is true.
    fn join(&self, parts: &'a [Expr], deciding: bool) -> Option<bool> {
        let mut joined = Some(!deciding);
        for part in parts {
            match self.truth(part) {
                Some(b) if b == deciding => return Some(deciding),
                Some(_) => {}
                None => joined = None,
            }
        }
        joined
    }

    fn case(&self, case: &'a Case) -> Operand<'a> {
        let subject = case.subject.as_ref().map(|subject| self.operand(subject));
        let chosen = case.arms.iter().find(|(when, _)| {
            let hit = match &subject {
                Some(subject) => self.compare(Comparison::Equal, subject, &self.operand(when)),
                None => self.truth(when),
            };
            hit == Some(true)
        });
        match (chosen, &case.otherwise) {
            (Some((_, then)), _) => self.operand(then),
            (None, Some(otherwise)) => self.operand(otherwise),
            (None, None) => Operand::Null,
        }
    }

    fn is_in(&self, value: &Operand<'_>, list: &'a List) -> Option<bool> {
        let is_other = |literal: &'a Expr| {
            self.compare(Comparison::Equal, value, &self.operand(literal)) == Some(true)
        };
        Some(match value {
            Operand::Null => return None,
            Operand::Text(text) => {
                list.texts.binary_search_by(|known| (**known).cmp(&**text)).is_ok()
                    || list.others.iter().any(is_other)
            }
            _ => {
                let spelled = || list.texts.iter().map(|text| Operand::text(text));
                list.others.iter().any(is_other)
                    || (self.input.coerce
                        && spelled().any(|text| {
                            self.compare(Comparison::Equal, value, &text) == Some(true)
                        }))
            }
        })
    }

    /// JMS 2.0 §3.8.1.2: values of different kinds are never equal nor ordered, which is false and not unknown.
    fn compare(&self, with: Comparison, left: &Operand<'_>, right: &Operand<'_>) -> Option<bool> {
        use Operand::{Bool, Float, Int, Null, Other, Text};
        match (left, right) {
            (Null, _) | (_, Null) => None,
            (Int(a), Int(b)) => Some(with.holds(a.cmp(b))),
            (Int(_) | Float(_), Int(_) | Float(_)) => {
                Some(match left.float().partial_cmp(&right.float()) {
                    Some(ordering) => with.holds(ordering),
                    None => with == Comparison::Unequal,
                })
            }
            (Text(a), Text(b)) => Some(with.holds((**a).cmp(&**b))),
            (Bool(a), Bool(b)) => Some(with.is_equality() && with.holds(a.cmp(b))),
            (Other(a), Other(b)) if with.is_equality() => {
                Some(a.equals(b) == (with == Comparison::Equal))
            }
            (Text(a), Int(_) | Float(_)) if self.input.coerce => match Operand::number_in(a) {
                Some(a) => self.compare(with, &a, right),
                None => Some(false),
            },
            (Int(_) | Float(_), Text(b)) if self.input.coerce => match Operand::number_in(b) {
                Some(b) => self.compare(with, left, &b),
                None => Some(false),
            },
            (Text(a), Bool(b)) | (Bool(b), Text(a)) if self.input.coerce => Some(
                Operand::bool_in(a).is_some_and(|a| with.is_equality() && with.holds(a.cmp(b))),
            ),
            _ => Some(false),
        }
    }

    fn number<'v>(&self, operand: Operand<'v>) -> Option<Operand<'v>> {
        match operand {
            Operand::Int(_) | Operand::Float(_) => Some(operand),
            Operand::Text(text) if self.input.coerce => Operand::number_in(&text),
            _ => None,
        }
    }

    fn slot(&self, slot: &'a Slot) -> Operand<'a> {
        let header = |name: &str| self.input.fields.header(name);
        match slot {
            Slot::Header(name) => header(name).map_or(Operand::Null, Operand::of),
            Slot::HeaderOr(name, property) => {
                header(name).map_or_else(|| self.property(*property), Operand::of)
            }
            Slot::Property(property) => self.property(*property),
            // A body that is not text is NULL, never a mangled text.
            Slot::Body => std::str::from_utf8(self.input.body).map_or(Operand::Null, Operand::text),
        }
    }

    fn property(&self, property: Property) -> Operand<'a> {
        let (meta, p) = (self.input.meta, &self.input.fields.properties);
        let name = match property {
            Property::AppId => &p.app_id,
            Property::ContentEncoding => &p.content_encoding,
            Property::ContentType => &p.content_type,
            Property::GroupId => &p.group_id,
            Property::Kind => &p.kind,
            Property::Subject => &p.subject,
            Property::UserId => &p.user_id,
            Property::MessageId => return id(p.message_id.as_ref()),
            Property::CorrelationId => return id(p.correlation_id.as_ref()),
            Property::ReplyTo => return self.reply_to(),
            Property::Address => return Operand::Text(Cow::Owned(self.address_text())),
            Property::DeliveryMode => {
                return Operand::text(if meta.durable { "PERSISTENT" } else { "NON_PERSISTENT" });
            }
            Property::Expiration => return integer(meta.expires.map_or(0, |t| t.0)),
            Property::GroupSeq => {
                return p.group_seq.map_or(Operand::Null, |n| Operand::Int(i64::from(n)));
            }
            Property::Priority => {
                return meta.priority.map_or(Operand::Null, |n| Operand::Int(i64::from(n)));
            }
            Property::PriorityOrDefault => {
                return Operand::Int(meta.priority.map_or(PRIORITY_DEFAULT, i64::from));
            }
            Property::Timestamp => {
                return p.created_at.map_or_else(|| integer(meta.published.0), Operand::Int);
            }
        };
        name.as_deref().map_or(Operand::Null, Operand::text)
    }

    /// `queue:x`, `topic:a/b` or `exchange:name/key`, as configuration writes addresses.
    fn address_text(&self) -> String {
        let address = self.input.address;
        match self.input.topic_exchange == Some(&*address.exchange) && !address.is_queue() {
            true => format!("topic:{}", address.key),
            false => address.to_string(),
        }
    }

    fn reply_to(&self) -> Operand<'a> {
        match &self.input.fields.properties.reply_to {
            None => Operand::Null,
            Some(ReplyTo::Queue(name)) => Operand::Text(Cow::Owned(format!("queue:{name}"))),
            Some(ReplyTo::Topic(key)) => Operand::Text(Cow::Owned(format!("topic:{key}"))),
            Some(ReplyTo::Opaque(name)) => Operand::text(name),
        }
    }
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::Unequal => ordering.is_ne(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }

    fn is_equality(self) -> bool {
        matches!(self, Comparison::Equal | Comparison::Unequal)
    }
}

impl Operand<'_> {
    fn float(&self) -> f64 {
        match self {
            Operand::Int(n) => *n as f64,
            Operand::Float(n) => *n,
            _ => f64::NAN,
        }
    }
}

/// Whole numbers stay whole while they fit; a whole division by zero is NULL.
fn calculate(arithmetic: Arithmetic, left: &Operand<'_>, right: &Operand<'_>) -> Operand<'static> {
    if let (Operand::Int(a), Operand::Int(b)) = (left, right) {
        let exact = match arithmetic {
            Arithmetic::Add => a.checked_add(*b),
            Arithmetic::Subtract => a.checked_sub(*b),
            Arithmetic::Multiply => a.checked_mul(*b),
            Arithmetic::Divide if *b == 0 => return Operand::Null,
            Arithmetic::Divide => a.checked_div(*b),
        };
        if let Some(n) = exact {
            return Operand::Int(n);
        }
    }
    let (a, b) = (left.float(), right.float());
    Operand::Float(match arithmetic {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
    })
}

fn integer(n: u64) -> Operand<'static> {
    i64::try_from(n).map_or(Operand::Float(n as f64), Operand::Int)
}

fn id(id: Option<&Id>) -> Operand<'_> {
    match id {
        None => Operand::Null,
        Some(Id::Text(text)) => Operand::text(text),
        Some(other) => carry::id_to_text(other, usize::MAX)
            .map_or(Operand::Null, |text| Operand::Text(Cow::Owned(text))),
    }
}
