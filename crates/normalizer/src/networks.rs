use std::net::IpAddr;

use ipnet::IpNet;

/// The operator's own networks: a label and the address ranges that bear it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(String, Vec<IpNet>)>);

/// A text that is neither an address nor a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{range}` under `networks.{label}` is not an address range such as `203.0.113.0/24`")]
pub struct InvalidNetwork {
    /// The label it stands under.
    pub label: String,
    /// The text.
    pub range: String,
}

impl Networks {
    /// Reads ranges by label; a lone address is a range of one.
    ///
    /// # Errors
    /// The first text that is neither an address nor a range.
    pub fn parse<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Result<Self, InvalidNetwork> {
        let mut networks = Vec::new();
        for (label, ranges) in labels {
            let ranges: Result<Vec<_>, _> = ranges
                .iter()
                .map(|text| {
                    range(text)
                        .ok_or_else(|| InvalidNetwork { label: label.into(), range: text.clone() })
                })
                .collect();
            networks.push((label.to_owned(), ranges?));
        }
        Ok(Self(networks))
    }

    /// Whether no range is configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels whose ranges contain the address; an IPv4-mapped IPv6 address is an IPv4 address.
    pub(crate) fn labels(&self, address: &str) -> impl Iterator<Item = &str> {
        let address: Option<IpAddr> =
            if self.0.is_empty() { None } else { address.trim().parse().ok() };
        let address = address.map(|address| address.to_canonical());
        let holds = move |ranges: &[IpNet]| {
            address.is_some_and(|address| ranges.iter().any(|range| range.contains(&address)))
        };
        self.0.iter().filter(move |(_, ranges)| holds(ranges)).map(|(label, _)| label.as_str())
    }
}

fn range(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_every_label_that_contains_it() {
        let office = ["203.0.113.0/24".to_owned(), "2001:db8::/32".to_owned()];
        let printer = ["203.0.113.7".to_owned()];
        let networks =
            Networks::parse([("office", office.as_slice()), ("printer", printer.as_slice())])
                .unwrap();
        for (address, labels) in [
            ("203.0.113.7", vec!["office", "printer"]),
            ("::ffff:203.0.113.8", vec!["office"]),
            ("2001:db8::1", vec!["office"]),
            ("198.51.100.1", vec![]),
            ("not an address", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(networks.labels(address).collect::<Vec<_>>(), labels, "{address}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        let wrong = ["203.0.113.0/33".to_owned()];
        let error = Networks::parse([("office", wrong.as_slice())]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`203.0.113.0/33` under `networks.office` is not an address range such as `203.0.113.0/24`"
        );
    }
}
