//! What is refused, and that the message names line and reason.

use proptest::prelude::*;

use super::{compile, errors, file, matches, rule};
use crate::{Lists, RuleSet};

fn check(text: &str, expected: &str) {
    let good = "title: Good\nname: good\nlogsource: {product: github}\ndetection: {s: {f: a}, condition: s}\n";
    let compiled = compile(&format!("{text}\n---\n{good}"), &[]);
    let all = errors(&compiled);
    assert!(all.iter().any(|one| one.contains(expected)), "{text}\n{all:?}");
    let names: Vec<_> = compiled.set.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["good"], "{text}: the others load");
}

#[test]
fn detections() {
    let long = "x".repeat(20_000);
    let values = vec!["a"; 20_001].join(", ");
    let regex = "a".repeat(4_097);
    for (detection, message) in [
        ("s: {f: a}", "`condition` is missing"),
        ("s: {f: a}\ncondition: t", "a.yml:7: error: rule `t`: there is no selection `t`"),
        ("s: {f: a}\ncondition: s and 1 of filter_*", "no selection is named like `filter_*`"),
        ("s: {f: a}\ncondition: s | count() > 5", "write a correlation"),
        ("s: {f: a}\ntimeframe: 5m\ncondition: s", "a.yml:7: error: rule `t`: `timeframe` is gone"),
        ("s: {}\ncondition: s", "a selection is empty"),
        ("s: []\ncondition: s", "a selection is empty"),
        ("s:\ncondition: s", "a selection is empty"),
        ("s:\n  f: []\ncondition: s", "a.yml:7: error: rule `t`: `f` has an empty list of values"),
        ("s: {f: {g: 1}}\ncondition: s", "a list or map cannot stand as a value"),
        (
            "s: {f|contians: a}\ncondition: s",
            "unknown modifier `contians` (did you mean `contains`?)",
        ),
        ("s: {f|contains: 1}\ncondition: s", "takes texts only"),
        ("s: {f|startswith|endswith: a}\ncondition: s", "only one comparison"),
        ("s: {f|exists: yes}\ncondition: s", "must be true or false"),
        ("s: {f|gt: '5'}\ncondition: s", "takes a number"),
        ("s: {f|re: '(?=a)'}\ncondition: s", "look-around"),
        ("s: {f|re: '(a)\\1'}\ncondition: s", "backreferences"),
        (&format!("s: {{f|re: '{regex}'}}\ncondition: s"), "longer than 4 KiB"),
        ("s: {f|re: '\\w{1000}\\w{1000}'}\ncondition: s", "larger than 1 MiB"),
        ("s: {f|cidr: 10.0.0.1/8}\ncondition: s", "host bits set (the network is 10.0.0.0/8)"),
        ("s: {f|cidr: 010.0.0.0/8}\ncondition: s", "is not a network"),
        ("s: {f|base64: 'a*'}\ncondition: s", "wildcards cannot be encoded"),
        ("s: {f|expand: '%domains%'}\ncondition: s", "there is no list `domains`"),
        ("s: {f|windash: '-a -b -c -d'}\ncondition: s", "at most 3 dashes"),
        ("s: {f|fieldref: 1}\ncondition: s", "takes the name of a field"),
        ("s: {f|hour: 1.5}\ncondition: s", "whole number"),
        ("s: {'|gt': 1}\ncondition: s", "needs a field"),
        ("s: ['']\ncondition: s", "empty keyword"),
        (&format!("s: {{f: {long}}}\ncondition: s"), "longer than 16384 bytes"),
        (&format!("s: {{f: [{values}]}}\ncondition: s"), "more than 20000 values"),
        (&format!("s: {{f: a}}\ncondition: {}s{}", "(".repeat(65), ")".repeat(65)), "64 deep"),
        ("s: {f: a}\ncondition: 2 of them", "is not Sigma"),
    ] {
        check(&rule(detection), message);
    }
}

#[test]
fn heads() {
    let body = "logsource: {product: github}\ndetection: {s: {f: a}, condition: s}\n";
    for (head, message) in [
        ("name: n\n", "a.yml:1: error: rule `n`: `title` is missing"),
        ("title: T\nid: 12\n", "a.yml:2: error: rule `T`: the id `12` is not a UUID"),
        ("title: T\nlevel: hihg\n", "a.yml:2: error: rule `T`: `hihg` is no level"),
        ("title: T\nstatus: tested\n", "a.yml:2: error: rule `T`: `tested` is no status"),
        ("title: T\ntaxonomy: ecs\n", "the taxonomy `ecs` is not known"),
        ("title: T\naction: global\n", "a.yml:2: error: rule `T`: `action: global`"),
        ("title: T\nhubwarden: {kind: first-seen}\n", "kind `first-seen` is not supported"),
        (
            "title: T\nhubwarden:\n  fold: 1h\n  fodl: 1h\n",
            "a.yml:4: error: rule `T`: unknown key `fodl`",
        ),
        ("title: T\nhubwarden: {severity: [{gte: 5, level: low}]}\n", "only a correlation has one"),
        ("title: T\nhubwarden: {severity: [{when: x, level: low}]}\n", "there is no selection `x`"),
        (
            "title: T\ntitle: U\n",
            "a.yml:2: error: rule `T`: the key `title` already stands in line 1",
        ),
    ] {
        let text = format!("{head}{body}");
        let compiled = compile(&text, &[]);
        let all = errors(&compiled);
        assert!(all.iter().any(|one| one.contains(message)), "{head}\n{all:?}");
    }
    let twice = format!("title: A\nname: same\n{body}---\ntitle: B\nname: same\n{body}");
    let twice = errors(&compile(&twice, &[]));
    assert_eq!(
        twice,
        ["a.yml:6: error: rule `same`: `same` is already the name or id of a rule in a.yml:1"]
    );
    check("title: T\ndetection: {s: {f: a}, condition: s}", "`logsource` is missing");
    check(
        "title: T\nlogsource: {definition: x}\ndetection: {s: {f: a}, condition: s}",
        "names neither",
    );
    check(
        "title: T\nlogsource: {produkt: x}\ndetection: {s: {f: a}, condition: s}",
        "did you mean `product`?",
    );
    check("title: T\nlogsource: {product: x}", "`detection` is missing");
}

#[test]
fn every_independent_error_of_a_document_is_told_with_its_line() {
    let text = "id: 12\nstatus: tested\nstatus: test\nlevel: hihg\n\
                hubwarden:\n  fold: 90\n  fodl: 1h\n  severity:\n    - {when: s}\n    - {level: low}\n\
                logsource: {product: github}\n\
                detection:\n  a:\n    f|contians: x\n    g|gt: '5'\n  b:\n    - {h: []}\n    - {h|re: '('}\n\
                \x20 condition: a and c\n";
    let lines: Vec<_> = compile(text, &[]).problems.iter().map(|one| one.line).collect();
    assert_eq!(lines, [1, 1, 2, 3, 4, 6, 7, 9, 10, 14, 15, 17, 18, 19]);
    let count = "title: C\nname: c\nhubwarden: {severity: [{when: x, level: low}]}\ncorrelation:\n  \
                 type: event_count\n  timespan: 5\n  window: 1m\n  condition: {lt: 5}\n";
    let lines: Vec<_> = compile(count, &[]).problems.iter().map(|one| one.line).collect();
    assert_eq!(lines, [5, 6, 7, 8], "`rules` is missing, and three are wrong");
    let refers = "title: C\nname: c\nhubwarden: {severity: [{when: x, level: low}]}\ncorrelation:\n  \
                  type: event_count\n  timespan: 5m\n  rules:\n    - one\n    - two\n  condition: {gt: 5}\n";
    let lines: Vec<_> = compile(refers, &[]).problems.iter().map(|one| one.line).collect();
    assert_eq!(lines, [3, 8, 9]);
    let items: String = (0..50).map(|number| format!("  s{number}: {{f|oops: x}}\n")).collect();
    let many = rule("").trim_end().to_owned() + "\n" + &items + "  condition: 1 of s*\n";
    let all = errors(&compile(&many, &[]));
    assert_eq!(all.len(), 21);
    assert!(all[20].ends_with("and 30 more errors from here on"), "{}", all[20]);
}

#[test]
fn correlations() {
    let base = "title: B\nname: base\nlogsource: {product: github}\ndetection: {s: {f: a}, condition: s}\n---\n";
    let head = "title: C\nname: c\ncorrelation:\n";
    for (lines, message) in [
        (
            "type: temporal",
            "a.yml:9: error: rule `c`: correlation type `temporal` is not supported",
        ),
        ("type: event_count\n  condition: {lt: 5}", "condition operator `lt` is not supported"),
        ("type: event_count\n  condition: {gt: 5, gte: 6}", "has two counts"),
        ("type: event_count\n  condition: {gte: 1.5}", "must be a whole number"),
        ("type: event_count\n  condition: {}", "neither `gt` nor `gte`"),
        ("type: event_count\n  condition: {gte: 2, field: f}", "belongs to `type: value_count`"),
        ("type: value_count\n  condition: {gte: 2}", "`field` is missing"),
        ("type: event_count\n  condition: {gte: 2}\n  timespan: 5", "`timespan` is `5`"),
        ("type: event_count\n  condition: {gte: 2}\n  window: 5m", "unknown key `window`"),
        (
            "type: event_count\n  condition: {gte: 2}\n  aliases: {x: {other: f}}",
            "an alias names `other`",
        ),
        (
            "type: event_count\n  condition: {gte: 2}\n  aliases: {x: {base: f}}",
            "not in `group-by`",
        ),
    ] {
        let timespan = if lines.contains("timespan") { "" } else { "  timespan: 5m\n" };
        let text = format!("{base}{head}  {lines}\n{timespan}  rules: [base]\n");
        let compiled = compile(&text, &[]);
        let all = errors(&compiled);
        assert!(all.iter().any(|one| one.contains(message)), "{lines}\n{all:?}");
        // What a broken correlation counts does not begin to cry by itself.
        assert_eq!(compiled.set.rules().len(), 0, "{lines}");
    }
    let count = "  type: event_count\n  timespan: 5m\n  condition: {gte: 2}\n";
    let broken = base.replace("{f: a}", "{f|oops: a}");
    let filter = base
        .replace("detection: {s", "filter: {rules: any, s")
        .replace("condition: s", "condition: not s");
    let more = format!("{base}{}{count}  rules: [base]\n---\n", head.replace(": c\n", ": inner\n"));
    for (before, rules, message) in [
        (base, "[nobody]", "refers to the rule `nobody`, which does not exist"),
        (&broken, "[base]", "refers to the rule `base`, which was rejected"),
        (&filter, "[base]", "refers to `base`, which is a filter"),
        (&more, "[inner]", "refers to the correlation `inner`"),
        (base, "[c]", "refers to the correlation `c`"),
    ] {
        let compiled = compile(&format!("{before}{head}{count}  rules: {rules}\n"), &[]);
        let all = errors(&compiled);
        assert!(all.iter().any(|one| one.contains(message)), "{rules}\n{all:?}");
    }
    let grouped = format!("{base}{head}{count}  rules: [base]\nhubwarden: {{group-by: [a]}}\n");
    assert!(errors(&compile(&grouped, &[]))[0].contains("has its own `group-by`"));
    let when = format!(
        "{base}{head}{count}  rules: [base]\nhubwarden: {{severity: [{{when: s, level: low}}]}}\n"
    );
    assert!(errors(&compile(&when, &[]))[0].contains("a correlation takes `gte`"));
}

#[test]
fn expansion_is_bounded() {
    let many: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let lists: Lists = [("many".to_owned(), many)].into_iter().collect();
    for (value, good) in [("%many%", true), ("%many%%many%", false)] {
        let text = rule(&format!("s: {{f|expand: '{value}'}}\ncondition: s"));
        let compiled = RuleSet::compile(&[file("a.yml", &text)], &lists, None);
        assert_eq!(errors(&compiled).is_empty(), good, "{value} {:?}", errors(&compiled));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_makes_it_panic(text in "(title: T\n)?(detection:\n)?[ a-z:|*%{}\\[\\],'\"#&!\n0-9\\\\-]{0,120}") {
        compile(&text, &[]);
        crate::parse_cases(&text).ok();
    }

    #[test]
    fn no_detection_makes_it_panic(
        field in "[a-c]{0,2}",
        modifier in prop::sample::select(vec![
            "", "|contains", "|re", "|re|i", "|cidr", "|exists", "|gt", "|base64", "|base64offset",
            "|windash|base64offset|contains", "|wide", "|expand", "|fieldref", "|hour", "|all", "|neq",
        ]),
        value in "[a-c0-9*?\\\\%/ .()é-]{0,12}",
        condition in "(s|not s|1 of s\\*|all of them|\\(s or s\\) and s|s and)",
    ) {
        let value = value.replace('\'', "");
        let text = rule(&format!("s:\n  '{field}{modifier}': '{value}'\ncondition: {condition}"));
        let compiled = compile(&text, &[]);
        matches(compiled.set, &super::event(&serde_json::json!({"a": value, "b": [1, null], "c": {"a": true}})));
    }
}
