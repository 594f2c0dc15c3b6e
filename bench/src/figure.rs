/// What a measurement gives, or why there is none.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Which side of a number a figure must stay on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// What was measured, in words.
    pub(crate) measured: String,
    /// What it is held against, in words; empty where the bound alone speaks.
    pub(crate) beside: String,
    /// The number that the bound is about.
    pub(crate) value: f64,
    pub(crate) bound: Bound,
}

impl Figure {
    /// Whether the bound is kept.
    pub(crate) fn holds(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.value >= least,
            Bound::AtMost(most) => self.value <= most,
        }
    }

    /// The cells of the table's row.
    pub(crate) fn row(&self) -> [String; 6] {
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
        };
        [
            self.name.to_owned(),
            self.measured.clone(),
            self.beside.clone(),
            format!("{:.3}", self.value),
            bound,
            if self.holds() { "ok" } else { "MISSED" }.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_what_keeps_it() {
        for (value, bound, holds) in [
            (0.15, Bound::AtLeast(0.15), true),
            (0.149, Bound::AtLeast(0.15), false),
            (1.2, Bound::AtMost(1.2), true),
            (1.21, Bound::AtMost(1.2), false),
            (f64::NAN, Bound::AtMost(1.2), false),
            (f64::NAN, Bound::AtLeast(0.0), false),
        ] {
            let figure =
                Figure { name: "f", measured: String::new(), beside: String::new(), value, bound };
            assert_eq!(figure.holds(), holds, "{value} {bound:?}");
        }
    }
}
