//! Passwords and certificates.

use hubwarden_bus::kafka::{Mechanism, Sasl, Tls};
use hubwarden_bus::topic::RAW;
use hubwarden_bus::{Bus, Error, Kafka, Positions, Sink};
use hubwarden_testkit::{PASSWORD, USER};

use crate::promises::records::{read_all, record};
use crate::{cluster, settings};

fn sasl(mechanism: Mechanism, password: &str) -> Option<Sasl> {
    Some(Sasl { mechanism, user: USER.into(), password: password.to_owned().into() })
}

async fn works(bus: &Kafka) {
    bus.writer("w").commit(vec![record(RAW, "a")], &Positions::none()).await.unwrap();
    assert_eq!(read_all(bus, RAW).await.unwrap()[0].body, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_in_by_password_in_every_way() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let mut settings = settings(kafka.addresses_with_sasl());
        settings.sasl = sasl(mechanism, PASSWORD);
        works(&Kafka::connect(settings).await.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_not_told() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
        let mut settings = settings(kafka.addresses_with_sasl());
        settings.sasl = sasl(mechanism, "not-the-secret");
        let refused = Kafka::connect(settings).await.err().unwrap();
        assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains("check the password") && !said.contains("not-the-secret"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proves_itself_by_certificate() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let files = kafka.certificates();
    let some = |file: &std::path::PathBuf| Some(file.clone());
    let whole = Tls { ca: some(&files.ca), cert: some(&files.cert), key: some(&files.key) };
    let mut settings = settings(kafka.addresses_with_tls());
    settings.tls = Some(whole.clone());
    works(&Kafka::connect(settings.clone()).await.unwrap()).await;
    // A broker that nobody vouches for.
    settings.tls = Some(Tls { ca: some(&files.cert), ..whole.clone() });
    let refused = Kafka::connect(settings.clone()).await.err().unwrap();
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    // The broker only hangs up on a client without a certificate.
    settings.tls = Some(Tls { cert: None, key: None, ..whole.clone() });
    let refused = Kafka::connect(settings.clone()).await.err().unwrap();
    assert!(matches!(refused, Error::Refused { .. } | Error::Unavailable { .. }), "{refused:?}");
    let mut settings = crate::settings(kafka.addresses_with_sasl_and_tls());
    settings.tls = Some(Tls { ca: some(&files.ca), ..Tls::default() });
    settings.sasl = sasl(Mechanism::ScramSha512, PASSWORD);
    works(&Kafka::connect(settings).await.unwrap()).await;
}
