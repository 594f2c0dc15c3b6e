use serde::Serialize;

/// The rules that judge events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RulesStatus {
    /// How many rules are loaded, blind ones included.
    pub loaded: usize,
    /// Those that cannot fire, with the reason.
    pub blind: Vec<BlindRule>,
    /// Files that could not be loaded, with the reason.
    pub refused: Vec<BlindRule>,
}

/// A rule that cannot fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlindRule {
    /// The rule's name, or its file's.
    pub name: String,
    /// What it lacks, such as `list:company_domains`.
    pub reason: String,
}
