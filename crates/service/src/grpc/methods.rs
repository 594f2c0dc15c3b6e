//! The one table of gRPC methods: who may call each, and whether it may be tried again.

use crate::Role::{self, Admin, Analyst, Auditor, Engineer, Ingest, Service, Viewer};

/// One method of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// As it stands in a request: `/hubwarden.v1.FindingService/ListFindings`.
    pub path: &'static str,
    /// Who may call it; everybody else is refused.
    pub roles: &'static [Role],
    /// Whether calling it twice is the same as calling it once.
    pub idempotent: bool,
}

/// Everybody who reads findings, rules and how sources are.
const READERS: &[Role] = &[Viewer, Analyst, Engineer, Admin, Auditor, Service];
/// Who brings records.
const SENDERS: &[Role] = &[Ingest, Engineer, Admin, Service];
/// Who tries things out on rules and events.
const BUILDERS: &[Role] = &[Analyst, Engineer, Admin, Service];

const fn read(path: &'static str, roles: &'static [Role]) -> Method {
    Method { path, roles, idempotent: true }
}

const fn write(path: &'static str, roles: &'static [Role]) -> Method {
    Method { path, roles, idempotent: false }
}

/// Every method that anybody may call; what is not here is refused.
pub const METHODS: &[Method] = &[
    write("/hubwarden.v1.IngestService/Ingest", SENDERS),
    read("/hubwarden.v1.EventService/Normalize", BUILDERS),
    read("/hubwarden.v1.FindingService/ListFindings", READERS),
    read("/hubwarden.v1.FindingService/GetFinding", READERS),
    read("/hubwarden.v1.FindingService/FindingTimeline", READERS),
    read("/hubwarden.v1.SourceService/ListSources", READERS),
    read("/hubwarden.v1.SourceService/GetSource", READERS),
    read("/hubwarden.v1.RuleService/ListRules", READERS),
    read("/hubwarden.v1.RuleService/GetRule", READERS),
    read("/hubwarden.v1.RuleService/GetRuleSet", READERS),
    read("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", READERS),
];

/// What probes ask, without a credential; it tells nothing but whether a service serves.
pub(crate) const OPEN: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

/// The row of a method.
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}
