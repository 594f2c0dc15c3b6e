//! The index by action leaves no match out.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{compile, errors, event, rule};
use crate::{Engine, Scratch};

fn selection() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "action: a",
        "action: [a, B]",
        "action: 'a*'",
        "action|startswith: a",
        "action|cased: A",
        "action: null",
        "action|neq: a",
        "action: 1",
        "action|all: [a, b]",
        "g: x",
        "g|exists: false",
        "action|contains: b",
        "action: [a, 2, null]",
        "action|re: '^b'",
        "action|fieldref: g",
        "action: [a, b, c, d, e, f, h, i, j, k]",
        "action: ''",
    ])
    .prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["s0", "s1", "s2", "1 of s*", "all of s*"]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

fn record() -> impl Strategy<Value = Json> {
    let action = prop::sample::select(vec![
        json!("a"),
        json!("A"),
        json!("b"),
        json!("c"),
        json!(1),
        json!("1"),
        json!(null),
        json!(""),
        json!(["a", "b"]),
        json!(["b", null]),
        json!([]),
        json!({"x": "a"}),
    ]);
    let other = prop::sample::select(vec![json!("x"), json!("A"), json!(null)]);
    (prop::option::of(action), prop::option::of(other)).prop_map(|(action, g)| {
        let mut record = serde_json::Map::new();
        record.extend(action.map(|action| ("action".to_owned(), action)));
        record.extend(g.map(|g| ("g".to_owned(), g)));
        Json::Object(record)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_index_changes_nothing(
        rules in prop::collection::vec((prop::collection::vec(selection(), 3), condition()), 1..5),
        records in prop::collection::vec(record(), 1..8),
    ) {
        let texts = rules.iter().enumerate().map(|(number, (selections, condition))| {
            let [a, b, c] = selections.as_slice() else { unreachable!() };
            let text = rule(&format!("s0: {{{a}}}\ns1: {{{b}}}\ns2: {{{c}}}\ncondition: {condition}"));
            text.replace("name: t\n", &format!("name: t{number}\n"))
        });
        let compiled = compile(&texts.collect::<Vec<_>>().join("---\n"), &[]);
        prop_assert_eq!(errors(&compiled), Vec::<String>::new());
        let engine = Engine::new(Arc::new(compiled.set));
        // One scratch for all: nothing of an event may be left behind for the next.
        let mut scratch = Scratch::default();
        for record in records {
            let event = event(&record);
            let (mut indexed, mut all) = (Vec::new(), Vec::new());
            engine.evaluate(&event, &mut scratch, &mut indexed);
            engine.evaluate_all(&event, &mut Scratch::default(), &mut all);
            prop_assert_eq!(indexed, all, "{}", record);
        }
    }
}

#[test]
fn a_rule_that_names_actions_is_no_candidate_of_others() {
    let compiled =
        compile(&rule("s: {action: [a, b], g: x}\nf: {h: y}\ncondition: s and not f"), &[]);
    let table = &compiled.set.tables[0];
    assert!(table.always.is_empty());
    assert_eq!(table.by_action.len(), 2);
}
