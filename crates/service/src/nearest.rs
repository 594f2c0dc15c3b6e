/// The known word that was probably meant; none when nothing is near enough to be a slip of the keys.
///
/// Near is one edit, and one more for every four letters: a farther suggestion only confuses.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let near = 1 + word.chars().count() / 4;
    let distances = known.into_iter().map(|other| (strsim::osa_distance(word, other), other));
    distances.filter(|(distance, _)| *distance <= near).min().map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["sso-disabled", "repo-made-public", "listen", "grace_s"];
        for (word, expected) in [
            ("sso-disable", Some("sso-disabled")),
            ("sso_disbaled", Some("sso-disabled")),
            ("repo-mad-publc", Some("repo-made-public")),
            ("lisen", Some("listen")),
            ("NOPE", None),
            ("", None),
            ("disabled", None),
            ("gra", None),
            ("grace_", Some("grace_s")),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest("b", ["c", "a"]), Some("a"), "the first by name of those equally near");
    }
}
