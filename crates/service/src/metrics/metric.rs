/// One metric as the catalogue declares it.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name under which Prometheus and OTLP carry it.
    pub name: &'static str,
    /// What is counted or measured.
    pub unit: Unit,
    /// How values add up.
    pub kind: Kind,
    /// Names and possible values of its labels, in the order in which the code gives them.
    pub labels: &'static [Label],
    /// One sentence for people.
    pub meaning: &'static str,
}

/// How values of a metric add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// The word of `docs/metrics.md`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric counts or measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Records on the bus.
    Records,
    /// Bytes.
    Bytes,
    /// Durations.
    Seconds,
    /// Moments, as seconds of Unix time.
    Timestamp,
    /// Things that need no unit.
    Count,
}

impl Unit {
    /// The unit as OpenTelemetry (UCUM) writes it.
    pub const fn as_ucum(self) -> &'static str {
        match self {
            Self::Records => "{record}",
            Self::Bytes => "By",
            Self::Seconds | Self::Timestamp => "s",
            Self::Count => "1",
        }
    }

    /// The word of `docs/metrics.md`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Timestamp => "Unix time",
            Self::Count => "",
        }
    }

    /// Upper bounds of a histogram's buckets: 1 ms to 10 s, powers of four, or 1 KiB to 64 MiB.
    pub(crate) fn boundaries(self) -> Vec<f64> {
        match self {
            Self::Seconds | Self::Timestamp => {
                vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
            }
            Self::Records | Self::Count => (0..9).map(|power| 4f64.powi(power)).collect(),
            Self::Bytes => (5..14).map(|power| 4f64.powi(power)).collect(),
        }
    }
}

/// A label and what it may say.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// The values of a label: never something that a sender chooses.
#[derive(Debug, PartialEq, Eq)]
pub enum Values {
    /// These; anything else is counted as `other`.
    Fixed(&'static [&'static str]),
    /// What the configuration or the rules of this installation name: described here.
    Configured(&'static str),
}
