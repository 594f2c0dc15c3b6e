use hubwarden_service::metrics::{Kind, Metric, Values, catalogue};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};

/// Labels that Prometheus itself adds to every series, and that of histogram buckets.
const ADDED: [&str; 3] = ["job", "instance", "le"];
/// Metrics that Prometheus itself makes.
const PROMETHEUS: [&str; 1] = ["up"];
/// Functions that make sense of a counter.
const OVER_COUNTERS: [&str; 4] = ["rate", "increase", "irate", "resets"];

/// One metric that an expression reads, by its name in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use(pub &'static str);

/// Parses an expression and compares every name, label and label value in it with the catalogue.
///
/// # Errors
/// What is wrong with it: it does not parse, a metric, label or value is not declared, a counter
/// is shown without `rate` or `increase`, or a gauge with it.
pub fn check_expression(text: &str) -> Result<Vec<Use>, String> {
    let parsed = parser::parse(text).map_err(|error| format!("{error} in `{text}`"))?;
    let mut walk = Walk::default();
    walk.expression(&parsed, "")?;
    for label in &walk.grouped {
        let known = ADDED.contains(&label.as_str())
            || walk.metrics.iter().any(|metric| has_label(metric, label));
        if !known {
            return Err(format!("no metric in `{text}` has the label {label}"));
        }
    }
    Ok(walk.metrics.iter().map(|metric| Use(metric.name)).collect())
}

fn has_label(metric: &Metric, name: &str) -> bool {
    metric.labels.iter().any(|label| label.name == name)
}

#[derive(Default)]
struct Walk {
    metrics: Vec<&'static Metric>,
    grouped: Vec<String>,
}

impl Walk {
    /// Goes through an expression inside a call of this function.
    fn expression(&mut self, expression: &Expr, function: &str) -> Result<(), String> {
        match expression {
            Expr::Aggregate(aggregate) => {
                self.labels(aggregate.modifier.as_ref());
                self.expression(&aggregate.expr, function)
            }
            Expr::Unary(unary) => self.expression(&unary.expr, function),
            Expr::Paren(paren) => self.expression(&paren.expr, function),
            Expr::Subquery(subquery) => self.expression(&subquery.expr, function),
            Expr::Binary(binary) => {
                let matching = binary.modifier.as_ref().and_then(|one| one.matching.as_ref());
                self.labels(matching);
                self.expression(&binary.lhs, function)?;
                self.expression(&binary.rhs, function)
            }
            Expr::Call(call) => {
                let mut arguments = call.args.args.iter();
                arguments.try_for_each(|argument| self.expression(argument, call.func.name))
            }
            Expr::VectorSelector(selector) => self.selector(selector, function),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs, function),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(()),
            Expr::Extension(_) => Err("an extension of PromQL".into()),
        }
    }

    fn labels(&mut self, modifier: Option<&LabelModifier>) {
        if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = modifier {
            self.grouped.extend(labels.labels.iter().cloned());
        }
    }

    fn selector(&mut self, selector: &VectorSelector, function: &str) -> Result<(), String> {
        let name = selector.name.as_deref().ok_or("a selector without a metric's name")?;
        if PROMETHEUS.contains(&name) {
            return Ok(());
        }
        let metric = catalogue::all().find(|metric| {
            let parts: &[&str] = match metric.kind {
                Kind::Histogram => &["_bucket", "_sum", "_count"],
                Kind::Counter | Kind::Gauge => &[""],
            };
            parts.iter().any(|part| name.strip_suffix(part) == Some(metric.name))
        });
        let metric = metric.ok_or_else(|| format!("the catalogue has no metric {name}"))?;
        let over_counters = OVER_COUNTERS.contains(&function);
        if over_counters == (metric.kind == Kind::Gauge) {
            return Err(format!("{name} is a {}, used in `{function}`", metric.kind.as_str()));
        }
        for matcher in &selector.matchers.matchers {
            let label = matcher.name.as_str();
            if ADDED.contains(&label) {
                continue;
            }
            let declared = metric.labels.iter().find(|declared| declared.name == label);
            let declared = declared.ok_or_else(|| format!("{name} has no label {label}"))?;
            if let Values::Fixed(values) = declared.values {
                let mut asked = matcher.value.split('|');
                if let Some(unknown) = asked.find(|value| !values.contains(value)) {
                    return Err(format!("{name}: {label} is never `{unknown}`"));
                }
            }
        }
        self.metrics.push(metric);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_held_against_the_catalogue() {
        let fine = "sum by (topic) (rate(hubwarden_match_records_in_total{job=~\"x\", topic=\"events\"}[5m])) > 600 * time()";
        assert_eq!(check_expression(fine).unwrap(), [Use("hubwarden_match_records_in_total")]);
        for (wrong, part) in [
            ("sum(", "in `sum(`"),
            ("hubwarden_match_consumer_lag", "no metric hubwarden_match_consumer_lag"),
            ("hubwarden_match_records_in_total > 1", "is a counter, used in ``"),
            ("rate(hubwarden_match_rules_loaded[5m])", "is a gauge, used in `rate`"),
            ("hubwarden_match_rules_loaded{topic=\"raw\"}", "has no label topic"),
            ("rate(hubwarden_match_records_in_total{topic=\"even\"}[5m])", "topic is never `even`"),
            ("sum by (actor) (hubwarden_match_rules_loaded)", "has the label actor"),
            ("rate(hubwarden_match_rule_eval_duration_seconds[5m])", "no metric"),
            ("{job=\"x\"}", "without a metric's name"),
        ] {
            let error = check_expression(wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
