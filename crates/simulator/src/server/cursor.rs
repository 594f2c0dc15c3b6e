//! GitHub's paging cursor: base64 of `<epoch ms as float>|<_document_id>`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A place in the log: after (or before) that time and id.
pub(crate) type Key = (i64, String);

/// Writes a cursor as GitHub does, such as that of `1.615336378833e+12|YAvEarPYGmkxkP0nnFx8mQ`.
pub(crate) fn encode((at_ms, id): &Key) -> String {
    STANDARD.encode(format!("{}|{id}", scientific(*at_ms)))
}

/// Reads a cursor; `None` when it is not one.
pub(crate) fn decode(cursor: &str) -> Option<Key> {
    let text = String::from_utf8(STANDARD.decode(cursor).ok()?).ok()?;
    let (time, id) = text.split_once('|')?;
    let at_ms = time.parse::<f64>().ok().filter(|time| time.is_finite() && time.abs() < 9e15)?;
    Some((at_ms.round() as i64, id.to_owned()))
}

/// `1615336378833` as `1.615336378833e+12`: shortest digits, sign and two digits of the exponent.
fn scientific(value: i64) -> String {
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{digits}e+{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_seen_in_practice() {
        let real = "MS42MTUzMzYzNzg4MzNlKzEyfFlBdkVhclBZR21reGtQMG5uRng4bVE=";
        let key = (1_615_336_378_833, "YAvEarPYGmkxkP0nnFx8mQ".to_owned());
        assert_eq!(decode(real), Some(key.clone()));
        assert_eq!(encode(&key), real);
    }

    #[test]
    fn every_time_comes_back() {
        for at_ms in
            [0, 1, 10, 1_000_000_000_000, 1_793_491_200_000, 1_793_491_200_001, 253_402_300_799_999]
        {
            let key = (at_ms, "x|y".to_owned());
            assert_eq!(decode(&encode(&key)), Some(key));
        }
        for bad in ["", "???", "bm90IGEgY3Vyc29y", "fHg=", "aW5mfHg="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
