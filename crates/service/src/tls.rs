//! TLS from PEM files: read once at start, checked before anything is served with it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::Invalid;
use crate::metrics::{Gauge, catalogue};

static NOT_AFTER: Gauge<1> = Gauge::new(&catalogue::service::CERTIFICATE);

/// Certificate and key of a server: `{ cert = "…", key = "…", client_ca = "…" }`, all PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate with those between it and the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs the certificates of clients; with it a client may show one, and one that is
    /// shown must be valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// What a client trusts and shows: `{ ca = "…", cert = "…", key = "…", name = "…" }`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Who signs the server's certificate, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The client's own certificate, for mutual TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must carry; absent: the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there or not readable.
    #[error("cannot read {path}; create it, readable for this user, or correct the path")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing of the kind in it.
    #[error("{path} holds no {what} in PEM form; name the file that does")]
    NoPem {
        /// The file.
        path: PathBuf,
        /// A certificate or a private key.
        what: &'static str,
    },
    /// What is in it cannot be read as a certificate.
    #[error("{path} holds a certificate that cannot be read: {reason}; issue a new one")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The certificate has ended.
    #[error("the certificate in {path} expired at {not_after}; issue a new one and restart")]
    Expired {
        /// The file.
        path: PathBuf,
        /// When it ended.
        not_after: Timestamp,
    },
    /// The certificate does not hold yet.
    #[error(
        "the certificate in {path} is valid only from {not_before} on; check this machine's clock, or wait"
    )]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// When it begins.
        not_before: Timestamp,
    },
    /// Key and certificate are of different pairs.
    #[error("the key in {key} does not belong to the certificate in {cert}; name a matching pair")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// Makes the one TLS provider of this program its default; call it first in `main`.
pub fn install_provider() {
    // an embedding program has its own: that one stays
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl ServerTls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// A file that is missing, is not PEM or has expired, or a key of another certificate.
    pub fn load(&self) -> Result<ServerTlsConfig, Error> {
        let (certificate, key) = pair(&self.cert, &self.key, "server")?;
        let mut config = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        if let Some(ca) = &self.client_ca {
            // people come with tokens and without certificates; who may do what is decided by call
            config = config.client_ca_root(authority(ca)?).client_auth_optional(true);
        }
        Ok(config)
    }

    /// The same files, relative ones being taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        Self {
            cert: folder.join(self.cert),
            key: folder.join(self.key),
            client_ca: self.client_ca.map(|path| folder.join(path)),
        }
    }
}

impl ClientTls {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// A file that is missing, is not PEM or has expired, or a key of another certificate.
    pub fn load(&self) -> Result<ClientTlsConfig, Error> {
        let mut config = ClientTlsConfig::new();
        if let Some(ca) = &self.ca {
            config = config.ca_certificate(authority(ca)?);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let (certificate, key) = pair(cert, key, "client")?;
            config = config.identity(Identity::from_pem(certificate, key));
        }
        if let Some(name) = &self.name {
            config = config.domain_name(name);
        }
        Ok(config)
    }

    /// The same files, relative ones being taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        let join = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        Self { ca: join(self.ca), cert: join(self.cert), key: join(self.key), name: self.name }
    }

    /// Refuses a certificate without its key, or the other way round.
    ///
    /// # Errors
    /// Names the key below `section`.
    pub fn validate_at(&self, section: &str) -> Result<(), Invalid> {
        match (&self.cert, &self.key) {
            (Some(_), None) => {
                Err(Invalid::new(format!("{section}.key"), "is missing beside `cert`"))
            }
            (None, Some(_)) => {
                Err(Invalid::new(format!("{section}.cert"), "is missing beside `key`"))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// A certificate and its key, as PEM, that belong together and are valid now.
fn pair(cert: &Path, key: &Path, used: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let (certificates, keys) = (read(cert)?, read(key)?);
    let chain = certificates_of(cert, &certificates, used)?;
    let no_key = || Error::NoPem { path: key.into(), what: "private key" };
    let private = PrivateKeyDer::from_pem_slice(&keys).map_err(|_| no_key())?;
    let signer = rustls::crypto::ring::sign::any_supported_type(&private).map_err(|_| no_key())?;
    let certified = rustls::sign::CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(Error::Mismatch { cert: cert.into(), key: key.into() })
        }
        _ => Ok((certificates, keys)),
    }
}

fn authority(path: &Path) -> Result<Certificate, Error> {
    let pem = read(path)?;
    certificates_of(path, &pem, "ca")?;
    Ok(Certificate::from_pem(pem))
}

/// The certificates of a PEM text; the first must be valid now.
fn certificates_of(
    path: &Path,
    pem: &[u8],
    used: &str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain
        .map_err(|error| Error::Unreadable { path: path.into(), reason: error.to_string() })?;
    let Some(first) = chain.first() else {
        return Err(Error::NoPem { path: path.into(), what: "certificate" });
    };
    let parsed = parse(first).map_err(|reason| Error::Unreadable { path: path.into(), reason })?;
    let moment = |at: i64| Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
    let validity = parsed.validity();
    let not_after = moment(validity.not_after.timestamp());
    let not_before = moment(validity.not_before.timestamp());
    NOT_AFTER.set(not_after.as_second() as f64, [used]);
    let now = Timestamp::now();
    if now > not_after {
        return Err(Error::Expired { path: path.into(), not_after });
    }
    if now < not_before {
        return Err(Error::NotYetValid { path: path.into(), not_before });
    }
    Ok(chain)
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    x509_parser::parse_x509_certificate(certificate)
        .map(|(_, certificate)| certificate)
        .map_err(|error| error.to_string())
}

/// The names that a peer's certificate carries: DNS names and URIs, never its subject.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = parse(certificate) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// What a failed connection means, with what to do: the TLS fault where there is one, named.
///
/// Give it the error of a gRPC connection or call, or any error that may have one below it.
pub fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut next = Some(error);
    let mut words = Vec::new();
    while let Some(error) = next {
        if let Some(fault) = tls_fault(error) {
            return fault;
        }
        let text = error.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        next = error.source();
    }
    words.join(": ")
}

fn tls_fault(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    use rustls::{CertificateError as Fault, Error as Tls};
    let direct = error.downcast_ref::<Tls>();
    let inner = || error.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<Tls>();
    let Some(fault) = direct.or_else(inner) else { return alert(&error.to_string()) };
    Some(match fault {
        Tls::InvalidCertificate(Fault::ExpiredContext { not_after, .. }) => {
            let at = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
            let at = Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
            format!("the peer's certificate expired at {at}; renew it there")
        }
        Tls::InvalidCertificate(Fault::Expired) => {
            "the peer's certificate has expired; renew it there".into()
        }
        Tls::InvalidCertificate(Fault::NotValidYetContext { .. } | Fault::NotValidYet) => {
            "the peer's certificate is not valid yet; compare the clocks of both machines".into()
        }
        Tls::InvalidCertificate(Fault::UnknownIssuer) => {
            "the peer's certificate is signed by nobody that is trusted here; name its authority in `ca`".into()
        }
        Tls::InvalidCertificate(
            Fault::NotValidForName | Fault::NotValidForNameContext { .. },
        ) => {
            "the peer's certificate carries another name; connect by that name or set `name`".into()
        }
        other => alert(&other.to_string()).unwrap_or_else(|| {
            format!("TLS failed: {other}; compare the certificates of both sides")
        }),
    })
}

/// What the peer said before it hung up. HTTP/2 keeps only the words of such an error, and only
/// in calls: with TLS 1.3 a client hears after connecting that its certificate was refused.
fn alert(text: &str) -> Option<String> {
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let word = alert.split(|letter: char| !letter.is_ascii_alphanumeric()).next()?;
    Some(match word {
        "CertificateExpired" => {
            "the peer says that this side's certificate has expired; renew it".into()
        }
        "CertificateRequired" => "the peer asks for a certificate; set `cert` and `key`".into(),
        "UnknownCA" | "DecryptError" => {
            "the peer does not trust who signed this side's certificate; use one of its authority"
                .into()
        }
        other => {
            format!("the peer refused TLS ({other}); compare the certificates of both sides")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    #[test]
    fn files_that_cannot_be_used_are_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let authority = Authority::new();
        authority.issue(folder.path(), "fine", &["localhost"], -1, 1);
        authority.issue(folder.path(), "other", &["localhost"], -1, 1);
        authority.issue(folder.path(), "old", &["localhost"], -10, -2);
        authority.issue(folder.path(), "early", &["localhost"], 2, 10);
        std::fs::write(path("empty.pem"), "nothing\n").unwrap();
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(path("broken.pem"), pem).unwrap();
        for (cert, key, part) in [
            ("gone.pem", "fine.key", "gone.pem; create it"),
            ("empty.pem", "fine.key", "holds no certificate"),
            ("broken.pem", "fine.key", "cannot be read"),
            ("fine.pem", "empty.pem", "holds no private key"),
            ("fine.pem", "other.key", "does not belong to the certificate"),
            ("old.pem", "old.key", "old.pem expired at 20"),
            ("early.pem", "early.key", "is valid only from 20"),
        ] {
            let tls = ServerTls { cert: path(cert), key: path(key), client_ca: None };
            let error = tls.load().unwrap_err().to_string();
            assert!(error.contains(part), "{cert}, {key}: {error}");
        }
        let tls = ServerTls { cert: path("fine.pem"), key: path("fine.key"), client_ca: None };
        tls.load().unwrap();
    }

    #[test]
    fn names_are_those_of_the_alternative_names_only() {
        let folder = tempfile::tempdir().unwrap();
        Authority::new().issue(folder.path(), "two", &["a.example", "b.example"], -1, 1);
        let pem = std::fs::read(folder.path().join("two.pem")).unwrap();
        let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
        assert_eq!(names(&certificate), ["a.example", "b.example"]);
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }

    #[test]
    fn a_certificate_goes_with_its_key() {
        let tls = ClientTls { cert: Some("a".into()), ..ClientTls::default() };
        assert_eq!(tls.validate_at("grpc.tls").unwrap_err().key, "grpc.tls.key");
    }
}
