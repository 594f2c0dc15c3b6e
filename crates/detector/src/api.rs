use std::sync::Arc;

use hubwarden_event::{BlindRule, RulesStatus};
use hubwarden_proto::v1;
use hubwarden_proto::v1::rule_service_server::{RuleService, RuleServiceServer};
use hubwarden_service::grpc::page;
use tonic::{Request, Response, Status};

use crate::{LoadedRules, Readiness};

/// Files that could not be loaded as they are now.
type Refused = Arc<dyn Fn() -> Vec<BlindRule> + Send + Sync>;

/// gRPC's `RuleService`: answers from the sets by which the stages of this process judge.
#[derive(Clone, Default)]
pub struct RuleApi {
    stages: Vec<(&'static str, Readiness)>,
    refused: Option<Refused>,
}

impl RuleApi {
    /// And by the set of this stage; rules are those of the first stage that has a set.
    pub fn add(&mut self, stage: &'static str, ready: Readiness) {
        self.stages.push((stage, ready));
    }

    /// Names these files as refused: a publisher that leaves a broken file as it was before knows of it,
    /// the set that it published does not.
    #[must_use]
    pub fn with_refused(self, refused: Refused) -> Self {
        Self { refused: Some(refused), ..self }
    }

    /// The service, to be added to a server.
    pub fn service(self) -> RuleServiceServer<Self> {
        RuleServiceServer::new(self)
    }

    fn rules(&self) -> Result<Arc<LoadedRules>, Status> {
        self.stages.iter().find_map(|(_, ready)| ready.rules()).ok_or_else(|| {
            let reasons: Vec<_> = self.stages.iter().flat_map(|(_, one)| one.reasons()).collect();
            let reasons = reasons.join("; ");
            Status::unavailable(format!("this server judges by no rules yet: {reasons}"))
        })
    }

    fn judging(&self, stage: &str, ready: &Readiness) -> v1::JudgingSet {
        let rules = ready.rules();
        let hash = rules.as_ref().map(|rules| rules.set.hash().to_string()).unwrap_or_default();
        let mut status = rules.map_or_else(RulesStatus::default, |rules| rules.status());
        if let Some(refused) = &self.refused {
            status.refused = refused();
        }
        v1::JudgingSet { stage: stage.into(), hash, waits_for: ready.reasons(), ..status.into() }
    }
}

#[tonic::async_trait]
impl RuleService for RuleApi {
    async fn list_rules(
        &self,
        request: Request<v1::ListRulesRequest>,
    ) -> Result<Response<v1::ListRulesResponse>, Status> {
        let v1::ListRulesRequest { limit, page_token } = request.into_inner();
        // two rules may have one name, and no two the same content
        let key = |rule: &v1::Rule| format!("{} {}", rule.name, rule.hash);
        let page = page(self.rules()?.rules(), key, limit, &page_token)?;
        Ok(Response::new(v1::ListRulesResponse {
            rules: page.entries,
            next_page_token: page.next_page_token,
            total: page.total,
        }))
    }

    async fn get_rule(
        &self,
        request: Request<v1::GetRuleRequest>,
    ) -> Result<Response<v1::GetRuleResponse>, Status> {
        let rules = self.rules()?;
        let rule = rules
            .find(&request.into_inner().name)
            .map_err(|unknown| Status::not_found(unknown.to_string()))?;
        Ok(Response::new(v1::GetRuleResponse { rule: Some(rules.rule(rule)) }))
    }

    async fn get_rule_set(
        &self,
        _: Request<v1::GetRuleSetRequest>,
    ) -> Result<Response<v1::GetRuleSetResponse>, Status> {
        let stages = self.stages.iter().map(|(stage, ready)| self.judging(stage, ready));
        Ok(Response::new(v1::GetRuleSetResponse { stages: stages.collect() }))
    }
}

#[cfg(test)]
mod tests {
    use hubwarden_rules::RuleFile;
    use tonic::Code;

    use super::*;
    use crate::Rulebook;

    fn file(name: &str, detection: &str, needs: &str) -> RuleFile {
        let text = format!(
            "title: T\nname: {name}\nlogsource: {{ product: github, service: audit }}\n\
             detection:\n  s:\n    {detection}\n  condition: s\nlevel: high\nhubwarden: {{ needs: [{needs}] }}\n"
        );
        RuleFile { name: format!("{name}.yml"), text, shipped: false }
    }

    fn ready(files: Vec<RuleFile>) -> Readiness {
        let ready = Readiness::default();
        let book = Rulebook { files, ..Rulebook::default() };
        ready.judges_by(Arc::new(LoadedRules::of(book)));
        ready
    }

    fn api() -> RuleApi {
        let mut api = RuleApi::default();
        api.add("match", Readiness::default());
        api.add(
            "correlate",
            ready(vec![
                file("fires", "action: repo.destroy", ""),
                file("broken", "action|nonsense: x", ""),
                file("blind", "action: repo.create", "list:absent"),
            ]),
        );
        api
    }

    async fn get(api: &RuleApi, name: &str) -> Result<v1::Rule, Status> {
        let answer = api.get_rule(Request::new(v1::GetRuleRequest { name: name.into() })).await?;
        Ok(answer.into_inner().rule.unwrap())
    }

    #[tokio::test]
    async fn answers_from_the_set_that_judges() {
        let api = api();
        let request = Request::new(v1::ListRulesRequest { limit: 1, ..Default::default() });
        let page = api.list_rules(request).await.unwrap().into_inner();
        let named =
            |rules: &[v1::Rule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        assert_eq!((named(&page.rules), page.total), (vec!["blind".to_owned()], 2));
        assert_eq!(page.rules[0].blind, ["absent"]);
        assert_eq!(page.rules[0].text, "", "only where one rule is asked for");
        let request = v1::ListRulesRequest { limit: 0, page_token: page.next_page_token };
        let page = api.list_rules(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(
            (named(&page.rules), page.next_page_token),
            (vec!["fires".to_owned()], "".into())
        );
        let rule = get(&api, "fires").await.unwrap();
        assert!(rule.text.contains("repo.destroy") && rule.hash.len() == 64, "{rule:?}");
    }

    #[tokio::test]
    async fn tells_what_each_stage_judges_by_and_what_is_wrong() {
        let api = api();
        let answer = api.get_rule_set(Request::new(v1::GetRuleSetRequest {})).await.unwrap();
        let stages = answer.into_inner().stages;
        assert_eq!((stages[0].stage.as_str(), stages[0].hash.as_str()), ("match", ""));
        assert_eq!(stages[0].waits_for, ["stage: it is starting"]);
        let correlate = &stages[1];
        assert_eq!((correlate.hash.len(), correlate.loaded), (64, 2));
        assert_eq!(correlate.blind[0].reason, "list:absent");
        assert_eq!(correlate.refused.len(), 1);
        assert!(correlate.refused[0].name.starts_with("broken.yml:"), "{correlate:?}");
        let edited = BlindRule { name: "edited.yml:3".into(), reason: "no".into() };
        let api = api.with_refused(Arc::new(move || vec![edited.clone()]));
        let answer = api.get_rule_set(Request::new(v1::GetRuleSetRequest {})).await.unwrap();
        let names = answer.into_inner().stages.remove(1).refused;
        assert_eq!((names.len(), names[0].name.as_str()), (1, "edited.yml:3"));
    }

    #[tokio::test]
    async fn says_what_was_probably_meant_and_when_there_is_nothing_to_tell() {
        let api = api();
        for (name, hint) in [("fire", "did you mean `fires`?"), ("", "`hubwarden rule list`")] {
            let status = get(&api, name).await.unwrap_err();
            assert_eq!(status.code(), Code::NotFound);
            assert!(status.message().contains(hint), "{status}");
        }
        let mut starting = RuleApi::default();
        starting.add("match", Readiness::default());
        let status = get(&starting, "fires").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("it is starting"), "{status}");
    }
}
