//! Groups, severities, counted values, explanations.

use hubwarden_event::Severity;
use serde_json::json;

use super::{compile, errors, event, matches, rule};
use crate::Window;

const TWO: &str = "title: A\nname: a\nlevel: low\nlogsource: {product: github, service: audit}\n\
     detection: {s: {action: x}, condition: s}\nhubwarden: {group-by: [actor]}\n---\n\
     title: B\nname: b\nlogsource: {product: github}\nlevel: high\n\
     detection: {s: {actor|exists: true}, condition: s}\nhubwarden: {group-by: [actor]}\n---\n\
     title: C\nname: c\nlevel: low\nlogsource: {product: github, service: webhook}\n\
     detection: {s: {action: x}, condition: s}\n---\n\
     title: D\nname: d\nlevel: low\nlogsource: {product: github}\n\
     detection: {s: {action: X}, condition: s}\n";

#[test]
fn rules_with_the_same_group_share_a_match() {
    let compiled = compile(TWO, &[]);
    assert_eq!(errors(&compiled), [""; 0]);
    let found =
        matches(compiled.set, &event(&json!({"action": "x", "actor": "Mona", "repo": "o/R"})));
    let seen: Vec<_> = found.iter().map(|one| (one.group.values.clone(), one.hits.len())).collect();
    assert_eq!(seen, [(vec!["mona".to_owned()], 2), (vec!["mona".into(), "o/r".into()], 1)]);
    assert_eq!(found[0].hits[1].severity, Severity::High);
}

#[test]
fn a_single_event_rule_groups_by_actor_and_repository_or_organization() {
    for (record, values) in [
        (json!({"f": "a", "actor": "A", "repo": "o/r", "org": "o"}), ["a", "o/r"]),
        (json!({"f": "a", "actor": "A", "repo": "", "org": "O"}), ["a", "o"]),
        (json!({"f": "a", "actor": "A", "repo": null, "org": ["O", "P"]}), ["a", "o"]),
        (json!({"f": "a"}), ["", ""]),
    ] {
        let compiled = compile(&rule("s: {f: a}\ncondition: s"), &[]);
        let found = matches(compiled.set, &event(&record));
        assert_eq!(found[0].group.values, values, "{record}");
        let names: Vec<_> = found[0].group.names.iter().map(|name| &**name).collect();
        assert_eq!(names, ["actor", "repo|org"]);
    }
}

#[test]
fn severity_entries_replace_the_level() {
    let text = format!(
        "{}hubwarden:\n  severity:\n    - {{when: public, level: critical}}\n    - {{when: small, level: low}}\n    \
         - {{when: small and not public, level: medium}}\n",
        rule("s: {f: a}\npublic: {visibility: public}\nsmall: {size|lt: 5}\ncondition: s")
    );
    for (record, severity) in [
        (json!({"f": "a"}), Severity::High),
        (json!({"f": "a", "visibility": "public"}), Severity::Critical),
        (json!({"f": "a", "size": 1}), Severity::Medium),
        (json!({"f": "a", "size": 1, "visibility": "public"}), Severity::Critical),
    ] {
        let compiled = compile(&text, &[]);
        assert!(compiled.problems.is_empty(), "{:?}", compiled.problems);
        assert_eq!(
            matches(compiled.set, &event(&record))[0].hits[0].severity,
            severity,
            "{record}"
        );
    }
}

const CLONES: &str = "title: Clone\nname: m--clone\nlogsource: {product: github}\n\
     detection: {s: {action: git.clone}, condition: s}\n---\n\
     title: Fetch\nname: m--fetch\nlogsource: {product: github}\n\
     detection: {s: {action: git.fetch}, condition: s}\n---\n\
     title: Many\nname: m\nlevel: high\n\
     correlation:\n  type: value_count\n  rules: [m--clone, m--fetch]\n  group-by: [who, org]\n  timespan: 10m\n  \
     condition: {field: repo, gt: 9}\n  aliases: {who: {m--clone: actor, m--fetch: user}}\n\
     hubwarden: {severity: [{gte: 50, level: critical}, {gte: 20, level: high}]}\n";

#[test]
fn a_correlation_takes_the_matches_of_its_rules() {
    let compiled = compile(CLONES, &[]);
    assert_eq!(errors(&compiled), [""; 0]);
    let rules = compiled.set.rules();
    assert_eq!(rules.len(), 1);
    let fields = vec!["repo".to_owned()];
    assert_eq!(rules[0].window, Window::Values { fields, at_least: 10, span_ms: 600_000 });
    assert_eq!(rules[0].severity_steps, [(20, Severity::High), (50, Severity::Critical)]);
    assert_eq!(compiled.set.longest_span_ms(), 600_000);
    for (record, group, value) in [
        (
            json!({"action": "git.clone", "actor": "A", "org": "O", "repo": "O/X"}),
            Some(["a", "o"]),
            Some("o/x"),
        ),
        (json!({"action": "git.fetch", "user": "U", "org": "O"}), Some(["u", "o"]), None),
        (json!({"action": "git.fetch", "actor": "A", "org": "O", "repo": "x"}), None, None),
        (json!({"action": "git.clone", "actor": "A", "repo": "x"}), None, None),
    ] {
        let found = matches(compile(CLONES, &[]).set, &event(&record));
        assert_eq!(
            found.first().map(|one| one.group.values.clone()),
            group.map(|g| g.map(String::from).to_vec())
        );
        let counted = found.first().and_then(|one| one.hits[0].value.as_deref());
        assert_eq!(counted, value, "{record}");
    }
}

#[test]
fn generate_lets_a_counted_rule_speak_too() {
    let text = CLONES.replace("  timespan", "  generate: true\n  timespan");
    let names: Vec<_> =
        compile(&text, &[]).set.rules().iter().map(|rule| rule.name.clone()).collect();
    assert_eq!(names, ["m--clone", "m--fetch", "m"]);
}

#[test]
fn tuples_of_values_do_not_run_together() {
    let text = CLONES.replace("field: repo", "field: [repo, branch]");
    let value = |repo: &str, branch: &str| {
        let record = json!({"action": "git.clone", "actor": "a", "org": "o", "repo": repo, "branch": branch});
        matches(compile(&text, &[]).set, &event(&record))[0].hits[0].value.clone()
    };
    assert_ne!(value("a", "b1:c"), value("ab", "1:c"));
    assert_eq!(value("A", "b"), value("a", "B"));
}

#[test]
fn reasons_are_the_tests_that_held() {
    let text = format!(
        "{}hubwarden: {{severity: [{{when: vip, level: critical}}]}}\n",
        rule(
            "s: {action: [repo.access, repo.create], visibility: public}\nbot: {actor|endswith: '[bot]'}\n\
             vip: {repo|contains: [secret, key]}\ncondition: s and not bot"
        )
    );
    let set = compile(&text, &[]).set;
    let record =
        event(&json!({"action": "repo.access", "visibility": "Public", "repo": "o/secret"})).record;
    let reasons = set.reasons(&set.rules()[0], &record);
    let said: Vec<_> =
        reasons.iter().map(|one| (one.condition.as_str(), one.value.as_str())).collect();
    assert_eq!(
        said,
        [
            ("action is one of repo.access, repo.create", "repo.access"),
            ("visibility is public", "Public"),
            ("repo contains one of secret, key", "o/secret"),
        ]
    );
    let other = event(&json!({"action": "repo.access", "visibility": "private"})).record;
    assert!(set.reasons(&set.rules()[0], &other).is_empty());
    let trace = set.explain(&set.rules()[0], &other);
    assert!(!trace.held);
    let text = trace.to_string();
    for line in [
        "no  rule t\n",
        "yes           action is one of repo.access, repo.create (\"repo.access\")\n",
        "no            visibility is public\n",
        "yes       not\n",
        "no      severity critical when\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_filter_is_joined_to_the_rules_that_it_names() {
    let filter = |rules: &str, condition: &str| {
        format!(
            "{}---\ntitle: F\nname: f\nlogsource: {{product: github}}\nfilter:\n  rules: {rules}\n  \
             s: {{actor: ci}}\n  condition: {condition}\n",
            rule("s: {f: a}\ncondition: 1 of s*")
        )
    };
    let count = |text: &str, actor: &str| {
        matches(compile(text, &[]).set, &event(&json!({"f": "a", "actor": actor}))).len()
    };
    for (rules, ci) in [("[t]", 0), ("any", 0), ("[other]", 1)] {
        let text = filter(rules, "not s");
        assert_eq!((count(&text, "ci"), count(&text, "mona")), (ci, 1), "{rules}");
    }
    let unknown = compile(&filter("[other]", "not s"), &[]);
    assert!(unknown.problems[0].message.contains("there is no rule `other`"));
    let blinding = compile(&filter("[t]", "s"), &[]);
    assert!(errors(&blinding)[0].contains("written `condition: not selection`"));
    let foreign = filter("any", "not s").replace(
        "F\nname: f\nlogsource: {product: github}",
        "F\nname: f\nlogsource: {product: windows}",
    );
    assert_eq!(count(&foreign, "ci"), 1);
}
