use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Files in PEM for TLS: an authority, the broker's certificate and a client's.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority that signed both.
    pub ca: PathBuf,
    /// The client's certificate.
    pub cert: PathBuf,
    /// The client's key.
    pub key: PathBuf,
    /// The broker's key and certificate, as Kafka wants them.
    pub(super) broker_store: PathBuf,
}

impl Certificates {
    pub(super) fn write(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority of the tests");
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let signed = |names: &[&str], common: &str| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, common);
            let key = KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, &issuer).unwrap();
            (key.serialize_pem(), cert.pem())
        };
        let file = |name: &str, content: String| {
            let path = folder.join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (broker_key, broker) = signed(&["127.0.0.1", "localhost"], "broker");
        let (client_key, client) = signed(&[], "hubwarden");
        Self {
            broker_store: file("broker.pem", format!("{broker_key}{broker}{}", ca.pem())),
            ca: file("ca.pem", ca.pem()),
            cert: file("client.pem", client),
            key: file("client.key", client_key),
        }
    }
}
