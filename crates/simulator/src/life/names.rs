//! Words from which the enterprise is made.

pub(crate) const FIRST: [&str; 32] = [
    "alice", "amit", "ana", "andre", "anja", "arjun", "beatriz", "ben", "carla", "chen", "clara",
    "daniel", "deepa", "elena", "emma", "erik", "fatima", "felix", "grace", "hana", "ines",
    "jonas", "kavya", "laura", "lucas", "maria", "maya", "nikhil", "olivia", "priya", "rafael",
    "tom",
];

pub(crate) const LAST: [&str; 40] = [
    "adams", "agarwal", "almeida", "bauer", "bell", "brandt", "carvalho", "clark", "costa", "das",
    "davies", "diaz", "evans", "fischer", "fuchs", "garcia", "ghosh", "gupta", "hall", "hoffmann",
    "iyer", "jansen", "joshi", "keller", "khan", "kumar", "lima", "lopez", "mehta", "meyer",
    "moore", "nair", "novak", "patel", "pereira", "rao", "reid", "santos", "singh", "weber",
];

/// What the repositories are about; two neighbours belong to one team.
pub(crate) const DOMAINS: [&str; 40] = [
    "payments",
    "billing",
    "ledger",
    "invoicing",
    "checkout",
    "cart",
    "catalogue",
    "search",
    "identity",
    "sessions",
    "profile",
    "consent",
    "orders",
    "shipping",
    "warehouse",
    "returns",
    "pricing",
    "offers",
    "loyalty",
    "vouchers",
    "mobile",
    "storefront",
    "design",
    "website",
    "events",
    "ingest",
    "lakehouse",
    "metrics",
    "forecast",
    "features",
    "fraud",
    "risk",
    "platform",
    "clusters",
    "pipelines",
    "artifacts",
    "secrets",
    "network",
    "observability",
    "tooling",
];

/// What kind of thing a repository holds.
pub(crate) const KINDS: [&str; 10] =
    ["api", "worker", "web", "schemas", "client", "infra", "deploy", "docs", "jobs", "e2e"];

pub(crate) const TITLE_VERBS: [&str; 12] = [
    "Add", "Fix", "Remove", "Simplify", "Document", "Retry", "Speed up", "Rename", "Test", "Split",
    "Log", "Validate",
];

pub(crate) const TITLE_THINGS: [&str; 16] = [
    "pagination of the list endpoint",
    "retries on upstream timeouts",
    "flaky consumer test",
    "schema of order events",
    "currency rounding",
    "feature flag for the new flow",
    "index on customer lookups",
    "cache headers",
    "health check of the worker",
    "dashboard links",
    "input checks of the form",
    "migration of old rows",
    "error text when a card expires",
    "startup order of containers",
    "unused configuration keys",
    "trace context",
];

pub(crate) const PACKAGES: [&str; 12] = [
    "lodash",
    "axios",
    "serde",
    "tokio",
    "requests",
    "urllib3",
    "jackson-databind",
    "golang.org/x/net",
    "express",
    "webpack",
    "cryptography",
    "spring-core",
];

/// Country and the whole hours by which its clocks are ahead of UTC.
pub(crate) const COUNTRIES: [(&str, i64); 6] =
    [("US", -5), ("US", -8), ("DE", 1), ("GB", 0), ("IN", 5), ("BR", -3)];

pub(crate) const BROWSERS: [&str; 6] = [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
];

pub(crate) const GIT_CLIENTS: [&str; 6] = [
    "git/2.50.1 (Apple Git-155)",
    "git/2.51.0.windows.1",
    "git/2.43.0",
    "git/2.47.3",
    "JGit/7.3.0.202506031305-r",
    "git/2.39.5 (Apple Git-154)",
];

pub(crate) const WORKFLOWS: [&str; 8] = [
    "CI",
    "Build and test",
    "Lint",
    "Deploy staging",
    "Release",
    "CodeQL",
    "Nightly",
    "Container image",
];

pub(crate) const JOBS: [&str; 8] = [
    "build",
    "test (linux)",
    "test (windows)",
    "lint",
    "package",
    "deploy",
    "analyze",
    "integration",
];
