//! Every method of the contract has its row in the table of methods, and reflection tells the contract.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use hubwarden_service::grpc::{self, ClientConfig, GrpcConfig, METHODS, Server};
use hubwarden_service::{Health, Role, SecretRef, TokenConfig, TokensConfig, hash_token};
use hubwarden_telemetry_tests::files;
use tokio_util::sync::CancellationToken;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// The methods of the contract, as a request names them.
fn contract_methods() -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for path in files("proto/hubwarden/v1", ".proto") {
        let text = std::fs::read_to_string(path).unwrap();
        let mut service = "";
        for line in text.lines() {
            let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
            let mut words = words.by_ref().filter(|word| !word.is_empty());
            match (words.next(), words.next()) {
                (Some("service"), Some(name)) => service = name,
                (Some("rpc"), Some(name)) => {
                    methods.insert(format!("/hubwarden.v1.{service}/{name}"));
                }
                _ => {}
            }
        }
    }
    assert!(methods.len() > 4, "{methods:?}");
    methods
}

#[test]
fn every_method_of_the_contract_has_its_row_and_no_other_has() {
    let ours = METHODS.iter().map(|method| method.path).filter(|path| !path.starts_with("/grpc."));
    let rows: BTreeSet<_> = ours.map(str::to_owned).collect();
    assert_eq!(
        rows,
        contract_methods(),
        "crates/service/src/grpc/methods.rs and proto/ name the same"
    );
    let paths: BTreeSet<_> = METHODS.iter().map(|method| method.path).collect();
    assert_eq!(paths.len(), METHODS.len(), "no method stands twice");
}

#[test]
fn the_page_for_operators_tells_every_method_with_its_roles() {
    let page = files("docs", "kubernetes.md").pop().unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    let ours = METHODS.iter().filter(|method| method.path.starts_with("/hubwarden."));
    for method in ours {
        let (service, name) =
            method.path.strip_prefix("/hubwarden.v1.").unwrap().split_once('/').unwrap();
        let row = page.lines().find(|line| line.starts_with(&format!("| `{service}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/kubernetes.md has no row of {service}"));
        let roles: Vec<_> = method.roles.iter().map(|role| role.as_str()).collect();
        let is_told = row.contains(&format!("`{name}`"))
            && row.contains(&format!("| {} |", roles.join(", ")));
        assert!(is_told, "{}: {roles:?} is not what `{row}` says", method.path);
    }
}

#[test]
fn nobody_but_those_who_bring_records_may_write_them() {
    for method in METHODS.iter().filter(|method| !method.idempotent) {
        for role in [Role::Viewer, Role::Auditor] {
            assert!(!method.roles.contains(&role), "{role:?} may call {}", method.path);
        }
    }
    let ingest: Vec<_> =
        METHODS.iter().filter(|method| method.roles.contains(&Role::Ingest)).collect();
    assert_eq!(ingest.len(), 1, "{ingest:?}");
}

#[tokio::test]
async fn reflection_tells_the_contract_where_it_is_on_and_to_whom_may_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "t").unwrap();
    let entry = TokenConfig {
        sha256: hash_token("t"),
        role: Role::Auditor,
        expires: "9999-01-01T00:00:00Z".parse().unwrap(),
    };
    let tokens = TokensConfig([("auditor".to_owned(), entry)].into());
    for reflection in [true, false] {
        let listen = "127.0.0.1:0".into();
        let config = GrpcConfig { listen, reflection, ..GrpcConfig::default() };
        let contract = hubwarden_proto::CONTRACT;
        let server = Server::bind(&config, &tokens, &Health::new(), contract).unwrap();
        let url = format!("http://{}", server.address());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        let token = Some(SecretRef::File(folder.path().join("token")));
        let client = ClientConfig { url, token, ..ClientConfig::default() };
        let channel = grpc::connect(&client).await.unwrap();
        let request = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..ServerReflectionRequest::default()
        };
        let asked = tokio_stream::once(request);
        let mut client = ServerReflectionClient::new(channel);
        let answer = client.server_reflection_info(asked).await;
        if reflection {
            let answer = answer.unwrap().into_inner().message().await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("{answer:?}")
            };
            let names: BTreeSet<_> = list.service.into_iter().map(|one| one.name).collect();
            for method in contract_methods() {
                let service = method.split('/').nth(1).unwrap();
                assert!(names.contains(service), "{service}: {names:?}");
            }
        } else {
            assert!(answer.is_err(), "reflection is off");
        }
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}
