use std::fmt::Write;

use serde_json::Value;

/// A JSON value in the canonical form of RFC 8785: no blanks, members sorted by UTF-16 code units.
///
/// Differs from the RFC in one point: an integer keeps all its digits instead of being rounded to
/// a double, so that two ids beyond 2^53 stay two.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(values) => {
            out.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_value(value, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (position, (name, value)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
    }
}

/// ECMAScript's number form: whole numbers without a point below 10^21, else the shortest digits.
fn write_number(number: &serde_json::Number, out: &mut String) {
    let written = match number.as_f64() {
        Some(double) if number.is_f64() => {
            let magnitude = double.abs();
            if double == 0.0 {
                write!(out, "0")
            } else if (1e-6..1e21).contains(&magnitude) {
                write!(out, "{double}")
            } else {
                let text = format!("{double:e}");
                let text = text.replace('e', "e+").replace("e+-", "e-");
                write!(out, "{text}")
            }
        }
        _ => write!(out, "{number}"),
    };
    written.expect("writing to a string cannot fail");
}

fn write_text(text: &str, out: &mut String) {
    let text = serde_json::to_string(text).expect("a text is always JSON");
    out.push_str(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc_8785() {
        for (input, canonical) in [
            (r#"{ "b": 1, "a": [true, null, "x\u000f"] }"#, r#"{"a":[true,null,"x\u000f"],"b":1}"#),
            (
                r#"{"\u20ac":1,"\r":2,"\ud83d\ude00":3,"\ufb33":4,"1":5}"#,
                "{\"\\r\":2,\"1\":5,\"€\":1,\"😀\":3,\"\u{fb33}\":4}",
            ),
            ("[1.0, 1e21, 1e-7, 0.000001, -0.0, 4.50]", "[1,1e+21,1e-7,0.000001,0,4.5]"),
            ("[9007199254740993]", "[9007199254740993]"),
        ] {
            let value: Value = serde_json::from_str(input).unwrap();
            assert_eq!(canonical_json(&value), canonical);
        }
    }
}
