use reqwest::Url;

/// The address with `rel="next"` of a `Link` header.
pub(super) fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, tail) = rest.split_once('<')?;
        let (address, tail) = tail.split_once('>')?;
        let parameters = tail.split_once('<').map_or(tail, |(parameters, _)| parameters);
        let next = parameters.split([';', ',']).any(|parameter| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').split_whitespace().any(|word| word == "next")
            })
        });
        if next {
            return Some(address);
        }
        rest = tail;
    }
}

/// Whether both have the same scheme, host and port.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_page_as_it_is_written() {
        for (header, expected) in [
            (
                r#"<https://a/organizations/1/audit-log?after=M,x%3D&before=>; rel="next", <https://a/x>; rel="first""#,
                Some("https://a/organizations/1/audit-log?after=M,x%3D&before="),
            ),
            (r#"<https://a/1>; rel="first", <https://a/2>; rel=next"#, Some("https://a/2")),
            (r#"<https://a/1>; title="x"; rel="prev next""#, Some("https://a/1")),
            (r#"<https://a/1>; rel="nextish""#, None),
            ("<https://a/1", None),
            ("", None),
        ] {
            assert_eq!(next(header), expected, "{header}");
        }
    }

    #[test]
    fn another_scheme_host_or_port_is_another_origin() {
        let base: Url = "https://api.github.com/orgs/a".parse().unwrap();
        for (address, same) in [
            ("https://api.github.com/organizations/1", true),
            ("https://api.github.com:443/x", true),
            ("http://api.github.com/x", false),
            ("https://api.github.com:8443/x", false),
            ("https://api.github.com.evil.example/x", false),
        ] {
            assert_eq!(same_origin(&base, &address.parse().unwrap()), same, "{address}");
        }
    }
}
