//! What holds and what does not, as data: detection, events that match, events that do not.

use serde_json::Value as Json;

use super::holds;

fn check(detection: &str, yes: &[&str], no: &[&str]) {
    let lists: &[(&str, &[&str])] =
        &[("names", &["alice", "svc-*"]), ("none", &[]), ("nets", &["10.0.0.0/8", "1.2.3.4"])];
    for (events, expected) in [(yes, true), (no, false)] {
        for text in events {
            let record: Json = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(holds(detection, lists, &record), expected, "{detection}\n{text}");
        }
    }
}

/// A detection of one selection.
fn item(item: &str, yes: &[&str], no: &[&str]) {
    check(&format!("s:\n  {item}\ncondition: s"), yes, no);
}

fn not(item: &str, yes: &[&str], no: &[&str]) {
    check(&format!("s:\n  {item}\ncondition: not s"), yes, no);
}

#[test]
fn hard_cases_of_the_semantics() {
    item(
        "f: Foo",
        &[r#"{"f":"foo"}"#, r#"{"f":"FOO"}"#],
        &[r#"{"f":"fooo"}"#, "{}", r#"{"f":null}"#],
    );
    item("f: 'a*b'", &[r#"{"f":"ab"}"#, r#"{"f":"a\nb"}"#], &[r#"{"f":"xab"}"#]);
    item("f: 'a?b'", &[r#"{"f":"aéb"}"#, r#"{"f":"a\nb"}"#], &[r#"{"f":"ab"}"#, r#"{"f":"axxb"}"#]);
    item(r"f: 'a\*b'", &[r#"{"f":"a*b"}"#], &[r#"{"f":"axb"}"#, r#"{"f":"a\\xb"}"#]);
    item(r"f: 'a\\*b'", &[r#"{"f":"a\\xb"}"#], &[r#"{"f":"a*b"}"#]);
    item(r"f|endswith: '\'", &[r#"{"f":"a\\"}"#], &[r#"{"f":"a"}"#]);
    item("f: ''", &[r#"{"f":""}"#], &["{}", r#"{"f":null}"#, r#"{"f":[]}"#, r#"{"f":" "}"#]);
    item("f: null", &["{}", r#"{"f":null}"#], &[r#"{"f":""}"#, r#"{"f":[]}"#, r#"{"f":{"g":1}}"#]);
    not("f: null", &[r#"{"f":""}"#, r#"{"f":"x"}"#], &["{}", r#"{"f":null}"#]);
    item(
        "f|exists: true",
        &[r#"{"f":null}"#, r#"{"f":""}"#, r#"{"f":[]}"#, r#"{"f":{}}"#],
        &["{}"],
    );
    item("f|exists: false", &["{}"], &[r#"{"f":null}"#, r#"{"f":""}"#, r#"{"f":[]}"#]);
    item(
        "f: 1",
        &[r#"{"f":1}"#, r#"{"f":1.0}"#, r#"{"f":"1"}"#, r#"{"f":"1.0"}"#],
        &[r#"{"f":"01"}"#, r#"{"f":true}"#, r#"{"f":" 1"}"#],
    );
    item("f: '1'", &[r#"{"f":1}"#, r#"{"f":"1"}"#], &[r#"{"f":"1.0"}"#, r#"{"f":true}"#]);
    item(
        "f: 9007199254740993",
        &[r#"{"f":9007199254740993}"#, r#"{"f":"9007199254740993"}"#],
        &[r#"{"f":9007199254740992}"#],
    );
    item(
        "f|gt: 5",
        &[r#"{"f":6}"#, r#"{"f":"6"}"#, r#"{"f":5.5}"#, r#"{"f":[1,9]}"#],
        &[r#"{"f":5}"#, r#"{"f":"abc"}"#, "{}", r#"{"f":null}"#],
    );
    not("f|gt: 5", &[r#"{"f":"abc"}"#, "{}"], &[r#"{"f":6}"#]);
    item("f: a", &[r#"{"f":["a","b"]}"#], &[r#"{"f":["b"]}"#, r#"{"f":[]}"#]);
    item(
        "f|contains|all: [fo, ba]",
        &[r#"{"f":"foobar"}"#, r#"{"f":["foo","bar"]}"#],
        &[r#"{"f":["foo"]}"#],
    );
    item(
        "f|neq: [a, b]",
        &[r#"{"f":"c"}"#, "{}", r#"{"f":null}"#, r#"{"f":["c"]}"#],
        &[r#"{"f":"A"}"#, r#"{"f":["a","c"]}"#],
    );
    item("f|fieldref: g", &[r#"{"f":"x","g":"X"}"#, r#"{"f":1,"g":"1"}"#], &[r#"{"f":"x"}"#, "{}"]);
    item(
        "f|re: '^foo$'",
        &[r#"{"f":"foo"}"#],
        &[r#"{"f":"foo\n"}"#, r#"{"f":"a\nfoo"}"#, r#"{"f":"FOO"}"#],
    );
    item(
        "f|cidr: 10.0.0.0/8",
        &[r#"{"f":"10.1.2.3"}"#, r#"{"f":"::ffff:10.1.2.3"}"#, r#"{"f":["8.8.8.8","10.1.1.1"]}"#],
        &[r#"{"f":"10.1.2"}"#, r#"{"f":"010.1.2.3"}"#, r#"{"f":"10.1.2.3 "}"#],
    );
    item(
        "f|windash|contains: ' -x'",
        &[r#"{"f":"a -x"}"#, r#"{"f":"a /x"}"#, r#"{"f":"a –x"}"#],
        &[r#"{"f":"a +x"}"#],
    );
    check(
        "words: [evil, 'bad*guy']\ncondition: words",
        &[r#"{"f":"xEVILx"}"#, r#"{"f":{"g":["evil"]}}"#, r#"{"f":"a bad old guy"}"#],
        &[r#"{"evil":1}"#, r#"{"f":"ev","g":"il"}"#, r#"{"f":"bad","g":"guy"}"#],
    );
    check("_x: {f: a}\ns: {f: b}\ncondition: 1 of them", &[r#"{"f":"b"}"#], &[r#"{"f":"a"}"#]);
}

#[test]
fn selections_are_and_lists_are_or() {
    item("{f: a, g: b}", &[r#"{"f":"a","g":"b"}"#], &[r#"{"f":"a"}"#, r#"{"g":"b"}"#]);
    item("{f|startswith: a, f|endswith: b}", &[r#"{"f":"axb"}"#], &[r#"{"f":"ax"}"#]);
    item("- {f: a, g: b}\n  - f: c", &[r#"{"f":"a","g":"b"}"#, r#"{"f":"c"}"#], &[r#"{"f":"a"}"#]);
    item("- [{f: a}, {g: b}]\n  - f: c", &[r#"{"g":"b"}"#, r#"{"f":"c"}"#], &[r#"{"f":"x"}"#]);
    item("- {f: a}\n  - word", &[r#"{"f":"a"}"#, r#"{"g":"my words"}"#], &[r#"{"f":"b"}"#]);
    item("f: [a, b]", &[r#"{"f":"b"}"#], &[r#"{"f":"c"}"#]);
    item("f|all: [a, b]", &[r#"{"f":["a","b"]}"#], &[r#"{"f":"a"}"#]);
    check(
        "condition: [a, b]\na: {f: x}\nb: {f: y}",
        &[r#"{"f":"x"}"#, r#"{"f":"y"}"#],
        &[r#"{"f":"z"}"#],
    );
    check(
        "a: {f: x}\nb: {g: y}\nc: {h: z}\ncondition: a or b and c",
        &[r#"{"f":"x"}"#, r#"{"g":"y","h":"z"}"#],
        &[r#"{"h":"z"}"#, r#"{"g":"y"}"#],
    );
    check(
        "sel: {f: x}\nfilter_a: {g: y}\nfilter_b: {h: z}\ncondition: sel and not 1 of filter_*",
        &[r#"{"f":"x"}"#],
        &[r#"{"f":"x","g":"y"}"#, r#"{"f":"x","h":"z"}"#],
    );
}

#[test]
fn fields_are_found_as_the_normalizer_writes_them() {
    item("F: x", &[r#"{"F":"x"}"#], &[r#"{"f":"x"}"#]);
    item("a.b: x", &[r#"{"a":{"b":"x"}}"#, r#"{"a.b":"x"}"#], &[r#"{"a.b":"y","a":{"b":"x"}}"#]);
    item(
        "teams.name: b",
        &[r#"{"teams":[{"name":"a"},{"name":"b"}]}"#],
        &[r#"{"teams":[{"name":"a"}]}"#],
    );
    item(
        "a|contains: ''",
        &[r#"{"a":""}"#, r#"{"a":0}"#],
        &[r#"{"a":{"b":1}}"#, r#"{"a":[]}"#, "{}"],
    );
    item("f: a", &[r#"{"f":[["a"],"b"]}"#], &[]);
    item("{teams.a: x, teams.b: y}", &[r#"{"teams":[{"a":"x"},{"b":"y"}]}"#], &[]);
    item("public_repo: true", &[r#"{"public_repo":true}"#], &["{}"]);
    not("f: a", &[r#"{"f":["b"]}"#, "{}"], &[r#"{"f":["b","a"]}"#]);
}

#[test]
fn values_compare_as_the_semantics_say() {
    item("f: ΟΔΟΣ", &[r#"{"f":"οδοσ"}"#], &[r#"{"f":"οδος"}"#]);
    item("f: straße", &[r#"{"f":"STRAẞE"}"#], &[r#"{"f":"strasse"}"#]);
    item("f: k", &["{\"f\":\"\u{212a}\"}"], &[]);
    item("f|startswith: ΟΔΟΣ", &[r#"{"f":"ΟΔΟΣ1"}"#, r#"{"f":"ΟΔΟΣ"}"#], &[]);
    item("f: '*'", &[r#"{"f":""}"#, r#"{"f":5}"#], &["{}", r#"{"f":null}"#]);
    item("f: '100%_'", &[r#"{"f":"100%_"}"#], &[r#"{"f":"100xx"}"#]);
    item(r"f: 'C:\\a'", &[r#"{"f":"C:\\a"}"#], &[r#"{"f":"C:\\\\a"}"#]);
    item("f: true", &[r#"{"f":true}"#, r#"{"f":"TRUE"}"#], &[r#"{"f":1}"#, r#"{"f":"yes"}"#]);
    item("f: 'true'", &[r#"{"f":true}"#], &[r#"{"f":false}"#]);
    item("f: [null, '']", &["{}", r#"{"f":""}"#], &[r#"{"f":"x"}"#]);
    item("f: 1.5", &[r#"{"f":1.50}"#, r#"{"f":"1.5"}"#], &[r#"{"f":15}"#]);
    item("f: [1, a, true]", &[r#"{"f":1}"#, r#"{"f":"A"}"#, r#"{"f":true}"#], &[r#"{"f":"b"}"#]);
    item("f: [a, b, c, d, e, f, g, h, i, j]", &[r#"{"f":"J"}"#, r#"{"f":"a"}"#], &[r#"{"f":"k"}"#]);
    item(
        "f|contains: [aa, bb, cc, dd, ee, ff, gg, hh, ii, jj]",
        &[r#"{"f":"xJJx"}"#],
        &[r#"{"f":"kk"}"#],
    );
}

#[test]
fn modifiers_do_what_they_say() {
    item("f|cased: Foo", &[r#"{"f":"Foo"}"#], &[r#"{"f":"foo"}"#]);
    item("f|contains|cased: oO", &[r#"{"f":"foO"}"#], &[r#"{"f":"foo"}"#]);
    item("f|contains: 'a*b'", &[r#"{"f":"xaxbx"}"#], &[r#"{"f":"ba"}"#]);
    item("f|contains|neq: x", &["{}", r#"{"f":"a"}"#], &[r#"{"f":"axb"}"#]);
    item(
        "f|fieldref|neq: g",
        &["{}", r#"{"f":"a"}"#, r#"{"f":"a","g":"b"}"#],
        &[r#"{"f":"a","g":"A"}"#],
    );
    item("f|fieldref|startswith: g", &[r#"{"f":"abc","g":"AB"}"#], &[r#"{"f":"abc","g":"bc"}"#]);
    item("f|endswith|fieldref|cased: g", &[r#"{"f":"abC","g":"C"}"#], &[r#"{"f":"abc","g":"C"}"#]);
    item("f|lte: 5", &[r#"{"f":5}"#, r#"{"f":-1}"#], &[r#"{"f":5.01}"#, r#"{"f":true}"#]);
    item("f|lt: 9007199254740993", &[r#"{"f":9007199254740992}"#], &[r#"{"f":9007199254740993}"#]);
    item("f|gte: 5", &[r#"{"f":5}"#], &[r#"{"f":4}"#]);
    item("f|re: 'a.c'", &[r#"{"f":"xabcx"}"#], &[r#"{"f":"a\nc"}"#]);
    item("f|re|s: 'a.c'", &[r#"{"f":"a\nc"}"#], &[]);
    item("f|re|m: '^b$'", &[r#"{"f":"a\nb\nc"}"#], &[r#"{"f":"ab"}"#]);
    item("f|re|i: 'ABC'", &[r#"{"f":"abc"}"#], &[]);
    item("f|re: '^1$'", &[r#"{"f":1}"#], &[]);
    item("f|base64|cased: foobar", &[r#"{"f":"Zm9vYmFy"}"#], &[r#"{"f":"zm9vymfy"}"#]);
    item(
        "f|base64offset|contains|cased: foobar",
        &[r#"{"f":"Zm9vYmFy"}"#, r#"{"f":"xZvb2Jhcx"}"#, r#"{"f":"mb29iYX"}"#],
        &[r#"{"f":"foobar"}"#],
    );
    item("f|base64offset: foobar", &[r#"{"f":"Zvb2Jhc"}"#], &[r#"{"f":"xZvb2Jhc"}"#]);
    item("f|wide|base64|cased: ab", &[r#"{"f":"YQBiAA=="}"#], &[]);
    item(
        "f|base64offset|contains|all|cased: [foobar, barfoo]",
        &[r#"{"f":"Zm9vYmFy and YmFyZm9v"}"#],
        &[r#"{"f":"Zm9vYmFy"}"#],
    );
    item("f|contains|windash: '-a'", &[r#"{"f":"x ―a"}"#], &[r#"{"f":"x a"}"#]);
    item("f|expand: '%names%'", &[r#"{"f":"ALICE"}"#, r#"{"f":"svc-1"}"#], &[r#"{"f":"%names%"}"#]);
    item("f|expand|endswith: '@%names%.x'", &[r#"{"f":"a@alice.x"}"#], &[r#"{"f":"alice.x"}"#]);
    item("f|expand: ['%none%', b]", &[r#"{"f":"b"}"#], &[r#"{"f":""}"#]);
    not("f|expand: '%none%'", &[r#"{"f":"b"}"#, "{}"], &[]);
    item(r"f|expand: '\%names%'", &[r#"{"f":"%names%"}"#], &[r#"{"f":"alice"}"#]);
    item("f: '%names%'", &[r#"{"f":"%names%"}"#], &[r#"{"f":"alice"}"#]);
    item(
        "f|expand|cidr: '%nets%'",
        &[r#"{"f":"10.1.1.1"}"#, r#"{"f":"1.2.3.4"}"#],
        &[r#"{"f":"1.2.3.5"}"#],
    );
    item(
        "f|hour: 12",
        &[r#"{"f":"2025-03-10T12:57:43Z"}"#, r#"{"f":1741611463961}"#],
        &[r#"{"f":"x"}"#, "{}"],
    );
    item("f|week: 1", &[r#"{"f":"2024-12-30T00:00:00Z"}"#], &[r#"{"f":"2024-12-29T00:00:00Z"}"#]);
}

#[test]
fn keywords_search_every_value_and_no_name() {
    check("s: evil\ncondition: s", &[r#"{"f":"an evil"}"#], &[r#"{"f":"good"}"#]);
    check("s: [12]\ncondition: s", &[r#"{"f":3124}"#], &[r#"{"f":1.2}"#]);
    check("s: {'|all': [a1, b2]}\ncondition: s", &[r#"{"f":"a1","g":"b2"}"#], &[r#"{"f":"a1"}"#]);
    check(
        "s: {'|re': 'e+vil$'}\ncondition: s",
        &[r#"{"f":"eevil"}"#],
        &[r#"{"f":"EVIL"}"#, r#"{"f":"evil "}"#],
    );
    check(
        "s: [person]\ncondition: s",
        &[r#"{"f":"a person"}"#],
        &[r#"{"hw.actor.class":"person"}"#],
    );
    check("s: {'|cased': Evil}\ncondition: s", &[r#"{"f":"xEvil"}"#], &[r#"{"f":"evil"}"#]);
}
