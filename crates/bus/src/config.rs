use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::kafka::Settings;

/// Section `[bus]`: what the stages meet on.
///
/// `P` is how the configuration says a password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, bound(deserialize = "P: Deserialize<'de>"))]
pub struct BusConfig<P> {
    /// The name of this process among its replicas, the same after a restart and never another's;
    /// empty: the name of the host, which in a StatefulSet is that of the pod.
    pub member: String,
    /// The cluster.
    pub kafka: Settings<P>,
}

impl<P> Default for BusConfig<P> {
    fn default() -> Self {
        Self { member: String::new(), kafka: Settings::default() }
    }
}

impl<P> BusConfig<P> {
    /// The same, relative files being taken from `folder`; `password` does so for that of the user.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path, password: impl FnOnce(P) -> P) -> Self {
        if let Some(tls) = &mut self.kafka.tls {
            for file in [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().flatten() {
                *file = folder.join(&*file);
            }
        }
        self.kafka.sasl = self
            .kafka
            .sasl
            .map(|sasl| crate::kafka::Sasl { password: password(sasl.password), ..sasl });
        self
    }

    /// The name of this process among its replicas.
    pub fn member(&self) -> String {
        if self.member.is_empty() {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        } else {
            self.member.clone()
        }
    }
}
