//! Exact comparison of JSON numbers as they are written, without going through a float.

use std::cmp::Ordering;

/// A JSON number taken apart; compares by value, whatever the notation and the size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a [u8],
    /// Digits after the point.
    part: &'a [u8],
    exponent: i64,
}

impl<'a> Number<'a> {
    /// Reads a text that is a JSON number from its first to its last character.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, bytes),
        };
        let (whole, rest) = digits(bytes);
        if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
            return None;
        }
        let (part, rest) = match rest {
            [b'.', rest @ ..] => match digits(rest) {
                ([], _) => return None,
                found => found,
            },
            _ => (&rest[..0], rest),
        };
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        let whole = if whole == b"0" { &whole[..0] } else { whole };
        Some(Self { negative, whole, part, exponent })
    }

    /// All digits from the first that is not zero.
    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.iter().chain(self.part).copied().skip_while(|digit| *digit == b'0')
    }

    /// The power of ten of the first digit that is not zero; absent for zero.
    fn magnitude(&self) -> Option<i64> {
        let first = if self.whole.is_empty() {
            let zeros = self.part.iter().position(|digit| *digit != b'0')?;
            -1 - zeros as i64
        } else {
            self.whole.len() as i64 - 1
        };
        Some(first.saturating_add(self.exponent))
    }

    fn compare_size(&self, other: &Self) -> Ordering {
        match (self.magnitude(), other.magnitude()) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(mine), Some(its)) => mine.cmp(&its).then_with(|| {
                let (mut mine, mut its) = (self.digits(), other.digits());
                loop {
                    match (mine.next(), its.next()) {
                        (None, None) => return Ordering::Equal,
                        (a, b) => match a.unwrap_or(b'0').cmp(&b.unwrap_or(b'0')) {
                            Ordering::Equal => {}
                            unequal => return unequal,
                        },
                    }
                }
            }),
        }
    }

    /// Orders two numbers by their exact value.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match number.magnitude() {
            None => 0,
            Some(_) if number.negative => -1,
            Some(_) => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            let size = self.compare_size(other);
            if self.negative { size.reverse() } else { size }
        })
    }
}

fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

/// The digits of an exponent; one beyond 18 digits counts as the largest or smallest.
fn exponent(bytes: &[u8]) -> Option<i64> {
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let (all, rest) = digits(bytes);
    if all.is_empty() || !rest.is_empty() {
        return None;
    }
    let add =
        |value: i64, digit: &u8| value.saturating_mul(10).saturating_add((digit - b'0').into());
    let value = all.iter().fold(0i64, add);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ordering::{Equal, Greater, Less};

    #[test]
    fn compares_exactly() {
        for (a, b, order) in [
            ("1", "1.0", Equal),
            ("-0", "0.00", Equal),
            ("1e3", "1000", Equal),
            ("0.001e6", "1E+3", Equal),
            ("9007199254740993", "9007199254740992", Greater),
            ("-5", "3", Less),
            ("-5", "-3", Less),
            ("0.5", "0.49", Greater),
            ("0.05", "0.5", Less),
            ("10", "9", Greater),
            ("1e99999999999999999999", "2", Greater),
            ("1e-99999999999999999999", "0", Greater),
            ("123456789012345678901234567890", "123456789012345678901234567891", Less),
        ] {
            let (a, b) = (Number::parse(a).unwrap(), Number::parse(b).unwrap());
            assert_eq!(a.compare(&b), order, "{a:?} {b:?}");
            assert_eq!(b.compare(&a), order.reverse(), "{b:?} {a:?}");
        }
    }

    #[test]
    fn takes_json_numbers_only() {
        for text in ["", "-", "01", "1.", ".5", "+1", " 1", "1 ", "1e", "0x1", "1_0", "inf", "١"] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
    }
}
