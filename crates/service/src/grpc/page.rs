use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tonic::Status;

/// Entries on a page when the caller does not say.
const USUAL: usize = 100;
/// The most entries that one page holds.
const MOST: usize = 500;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its entries, by key.
    pub entries: Vec<T>,
    /// Where the next page begins; empty when there is none.
    pub next_page_token: String,
    /// How many entries there are in all.
    pub total: u64,
}

/// The page of a list that a request names by `limit` and `page_token`.
///
/// No limit means 100, and no page holds more than 500. Each entry has a key of its own. The token
/// names the last key of the page before, so that nothing is passed over when other entries come or
/// go between two pages.
///
/// # Errors
/// `INVALID_ARGUMENT` for a token that no page has given.
pub fn page<T>(
    mut entries: Vec<T>,
    key: impl Fn(&T) -> String,
    limit: u32,
    page_token: &str,
) -> Result<Page<T>, Status> {
    let total = entries.len() as u64;
    entries.sort_by_cached_key(&key);
    if !page_token.is_empty() {
        let last = URL_SAFE_NO_PAD.decode(page_token).ok();
        let last = last.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
            Status::invalid_argument(
                "this is not a page_token; take it from the previous page as it is, or leave it out \
                 to start at the first",
            )
        })?;
        entries.retain(|entry| key(entry) > last);
    }
    let limit = match limit {
        0 => USUAL,
        limit => usize::try_from(limit).unwrap_or(MOST).min(MOST),
    };
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|entry| URL_SAFE_NO_PAD.encode(key(entry)));
    Ok(Page { entries, next_page_token: next.unwrap_or_default(), total })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn ask(entries: &[&'static str], limit: u32, token: &str) -> Page<&'static str> {
        page(entries.to_vec(), |entry| (*entry).to_owned(), limit, token).unwrap()
    }

    #[test]
    fn pages_follow_each_other_also_when_entries_come_and_go() {
        let first = ask(&["c", "a", "b", "d"], 2, "");
        assert_eq!((first.entries, first.total), (vec!["a", "b"], 4));
        let second = ask(&["c", "a", "aa", "d"], 2, &first.next_page_token);
        assert_eq!(second.entries, ["c", "d"], "`b` has gone");
        assert_eq!(second.next_page_token, "", "the last page");
        assert_eq!(ask(&[], 2, &first.next_page_token).entries, [""; 0]);
    }

    #[test]
    fn a_page_has_a_usual_and_a_greatest_length() {
        let key = |entry: &usize| format!("{entry:04}");
        for (limit, expected) in [(0, 100), (1, 1), (500, 500), (501, 500), (u32::MAX, 500)] {
            let page = page((0..600).collect(), key, limit, "").unwrap();
            assert_eq!((page.entries.len(), page.total), (expected, 600), "{limit}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_refused() {
        for token in ["!", "a", "_w"] {
            let status = page(vec![1], |_| "x".into(), 0, token).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{token}");
        }
    }
}
