use hubwarden_event::ContentType;
use memchr::{memchr, memchr_iter, memmem};

use super::cut::Cut;
use super::{Item, NOT_A_RECORD, values};

/// Cuts whole lines; `last` says that nothing follows, and why the last line may be a part.
pub(super) fn cut(text: &[u8], last: Option<Option<&str>>, cut: &mut Cut) {
    let mut start = 0;
    for end in memchr_iter(b'\n', text) {
        line(text, start, end, None, cut);
        start = end + 1;
        cut.line += 1;
    }
    if let Some(damage) = last
        && start < text.len()
    {
        line(text, start, text.len(), damage, cut);
        start = text.len();
    }
    cut.used = start;
}

fn line(text: &[u8], start: usize, end: usize, damage: Option<&str>, cut: &mut Cut) {
    let whole = &text[start..end];
    let start = start + (whole.len() - whole.trim_ascii_start().len());
    let line = whole.trim_ascii();
    let content_type = match line.first() {
        None => return,
        Some(b'[') => return several(line, start, damage, cut),
        Some(b'{') if values::several(line) => return several(line, start, damage, cut),
        Some(b'{') => ContentType::Json,
        Some(_) => match syslog(line) {
            Syslog::Audit => ContentType::SyslogLine,
            Syslog::Foreign => {
                cut.foreign += 1;
                return;
            }
            Syslog::No => ContentType::Unknown,
        },
    };
    // the lines of an array whose brackets were cut away
    let line = match content_type {
        ContentType::Json if line.ends_with(b"},") => &line[..line.len() - 1],
        _ => line,
    };
    let damage = match content_type {
        ContentType::Unknown => damage.or(Some(NOT_A_RECORD)),
        _ => damage,
    };
    cut.items.push(Item {
        range: start..start + line.len(),
        line: cut.line,
        content_type,
        damage: damage.map(str::to_owned),
        whole: None,
    });
}

/// A line that holds an array, or values without separators.
fn several(line: &[u8], start: usize, damage: Option<&str>, cut: &mut Cut) {
    let mut inner = Cut::at_line(cut.line);
    let last = damage.unwrap_or("the line ends inside this value");
    values::cut(&mut false, start, line, Some(last), &mut inner);
    cut.items.append(&mut inner.items);
}

enum Syslog {
    /// A line of the audit log, or one whose JSON the normalizer may judge.
    Audit,
    /// A line of another program: all system logs are forwarded together.
    Foreign,
    No,
}

fn syslog(line: &[u8]) -> Syslog {
    let object = memmem::find(line, b"{\"").is_some();
    let named = memmem::find(line, b"github_audit").is_some();
    let numbered = line.first() == Some(&b'<')
        && memchr(b'>', &line[..line.len().min(5)])
            .is_some_and(|end| end > 1 && line[1..end].iter().all(u8::is_ascii_digit));
    match (named, numbered, object) {
        (true, ..) | (_, _, true) => Syslog::Audit,
        (false, true, false) => Syslog::Foreign,
        (false, false, false) => Syslog::No,
    }
}
