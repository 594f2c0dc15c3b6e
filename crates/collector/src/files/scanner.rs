use memchr::memchr3;

/// Finds where a JSON value ends without parsing it, over any number of pieces.
///
/// It knows texts, escapes and depth, nothing else: what is wrong inside a value is for the
/// normalizer to say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scanner {
    depth: u64,
    in_text: bool,
    escaped: bool,
}

/// What a piece brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The value ends before this byte of the piece.
    End(usize),
    /// A line feed at this byte of the piece stands inside a text, which JSON forbids.
    Broken(usize),
    /// The value goes on in the next piece.
    More,
}

impl Scanner {
    /// How many objects and arrays are open.
    pub(crate) fn depth(&self) -> u64 {
        self.depth
    }

    /// Whether the last piece ended inside a text.
    pub(crate) fn in_text(&self) -> bool {
        self.in_text
    }

    /// Goes on with the next piece; the first one begins with `{`, `[` or `"`.
    pub(crate) fn scan(&mut self, piece: &[u8]) -> Found {
        let mut at = 0;
        loop {
            if self.in_text {
                if self.escaped {
                    if piece.len() <= at {
                        return Found::More;
                    }
                    self.escaped = false;
                    at += 1;
                }
                let Some(offset) = memchr3(b'"', b'\\', b'\n', &piece[at..]) else {
                    return Found::More;
                };
                at += offset + 1;
                match piece[at - 1] {
                    b'"' => {
                        self.in_text = false;
                        if self.depth == 0 {
                            return Found::End(at);
                        }
                    }
                    b'\\' => self.escaped = true,
                    _ => return Found::Broken(at - 1),
                }
                continue;
            }
            let Some(offset) = piece[at..].iter().position(|byte| is_structure(*byte)) else {
                return Found::More;
            };
            at += offset + 1;
            match piece[at - 1] {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                _ => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Found::End(at);
                    }
                }
            }
        }
    }
}

fn is_structure(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_whatever_the_pieces() {
        for (text, end) in [
            (r#"{"a":1}x"#, Found::End(7)),
            (r#"{"a":"}\"{\\"}{"#, Found::End(14)),
            (r#"[{"a":[1,{}]},2]]"#, Found::End(16)),
            (r#""a\"b" "#, Found::End(6)),
            (r#"{"a":{"#, Found::More),
            ("{\"a\":\"x\ny\"}", Found::Broken(7)),
        ] {
            for cut in 0..text.len() {
                let mut scanner = Scanner::default();
                let (first, second) = text.as_bytes().split_at(cut);
                let found = match scanner.scan(first) {
                    Found::More => match scanner.scan(second) {
                        Found::End(at) => Found::End(at + cut),
                        Found::Broken(at) => Found::Broken(at + cut),
                        Found::More => Found::More,
                    },
                    found => found,
                };
                assert_eq!(found, end, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn depth_does_not_use_the_stack() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(Scanner::default().scan(deep.as_bytes()), Found::End(2_000_000));
    }
}
