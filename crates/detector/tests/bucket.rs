//! Snapshots in a bucket: the client against a server that speaks the part of S3 that is used.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hubwarden_detector::snapshot::{S3, Target};
use hubwarden_detector::state;
use hubwarden_rules::{Changes, Item, Put, Scope, StateKey};
use hubwarden_service::SecretRef;

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    parts: BTreeMap<(String, u32), Bytes>,
    multipart: u32,
    unsigned: u32,
}

type Shared = Arc<Mutex<Bucket>>;

const TIME: &str = "2026-11-01T00:00:00.000Z";

/// What is done to an object, or to the bucket when `key` is empty.
fn act(
    bucket: &mut Bucket,
    method: &Method,
    key: &str,
    query: &HashMap<String, String>,
    body: Bytes,
) -> Response {
    let xml = |text: String| ([(header::CONTENT_TYPE, "application/xml")], text).into_response();
    match (method.as_str(), query) {
        ("GET", query) if query.contains_key("list-type") => {
            let prefix = &query["prefix"];
            let objects = bucket.objects.iter().filter(|(key, _)| key.starts_with(prefix));
            let contents: String = objects
                .map(|(key, body)| {
                    let size = body.len();
                    format!("<Contents><Key>{key}</Key><LastModified>{TIME}</LastModified><Size>{size}</Size><ETag>x</ETag></Contents>")
                })
                .collect();
            xml(format!(
                "<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
            ))
        }
        ("POST", query) if query.contains_key("uploads") => {
            bucket.multipart += 1;
            xml("<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>".into())
        }
        ("PUT", query) if query.contains_key("partNumber") => {
            bucket.parts.insert((key.into(), query["partNumber"].parse().unwrap()), body);
            [(header::ETAG, "x")].into_response()
        }
        ("POST", query) if query.contains_key("uploadId") => {
            let parts = std::mem::take(&mut bucket.parts);
            let whole: Vec<u8> = parts.into_values().flatten().collect();
            bucket.objects.insert(key.into(), whole.into());
            xml("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
                .into())
        }
        ("POST", query) if query.contains_key("delete") => {
            let text = String::from_utf8(body.to_vec()).unwrap();
            let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
            let mut deleted = String::new();
            for key in keys {
                bucket.objects.remove(key);
                deleted += &format!("<Deleted><Key>{key}</Key></Deleted>");
            }
            xml(format!("<DeleteResult>{deleted}</DeleteResult>"))
        }
        ("PUT", _) => {
            bucket.objects.insert(key.into(), body);
            [(header::ETAG, "x")].into_response()
        }
        ("DELETE", _) => {
            bucket.objects.remove(key);
            StatusCode::NO_CONTENT.into_response()
        }
        ("GET", _) => match bucket.objects.get(key) {
            Some(body) => {
                let modified = "Sun, 01 Nov 2026 00:00:00 GMT";
                ([(header::LAST_MODIFIED, modified), (header::ETAG, "x")], body.clone())
                    .into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ => StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

async fn serve(shared: Shared) -> String {
    let handle = |State(shared): State<Shared>,
                  method: Method,
                  path: Option<Path<String>>,
                  Query(query): Query<HashMap<String, String>>,
                  headers: HeaderMap,
                  body: Bytes| async move {
        let mut bucket = shared.lock().unwrap();
        let signature = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
        if !signature.is_some_and(|value| value.contains("Credential=reader/")) {
            bucket.unsigned += 1;
            return StatusCode::FORBIDDEN.into_response();
        }
        let key = path.map(|Path(key)| key).unwrap_or_default();
        act(&mut bucket, &method, &key, &query, body)
    };
    let router = Router::new()
        .route("/state", any(handle))
        .route("/state/{*key}", any(handle))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(shared);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

/// Changes that put so many bytes, which no compression makes smaller, into the state.
fn filling(bytes: usize) -> Changes {
    let mut word = 1u64;
    let part: Vec<u8> = (0..bytes / 8)
        .flat_map(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()
        })
        .collect();
    let key =
        StateKey { scope: Scope::Run("c".into(), "live".into()), item: Item::Segment([1; 32], 1) };
    let put = Put { key, expires_at: i64::MAX, replace: true, parts: vec![(0, part)] };
    Changes { put: vec![put], ..Changes::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_small_and_large_snapshots() {
    let shared = Shared::default();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cr3t\n").unwrap();
    let s3 = S3 {
        endpoint: Some(serve(shared.clone()).await),
        region: Some("eu-central-1".into()),
        access_key: Some("reader".into()),
        secret_key: Some(SecretRef::File(secret)),
    };
    let target = Target::open("s3://state/some/where", &s3).unwrap();
    target.probe().await.unwrap();
    assert!(shared.lock().unwrap().objects.is_empty(), "the probe leaves nothing behind");

    let file = folder.path().join("correlate-5.db");
    let mut state = state::State::open(&file, 5).unwrap();
    for (position, bytes) in [(10, 1000), (20, 24 << 20), (30, 24 << 20)] {
        state.commit(&filling(bytes), position).unwrap();
        target.save(&file, 5, folder.path()).await.unwrap();
    }
    let listed = target.list(5).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.position).collect::<Vec<_>>(), [30, 20]);
    assert_eq!(listed[0].name, "some/where/correlate-5/00000000000000000030.db.zst");
    assert_eq!(listed[0].stored_at_ms, 1_793_491_200_000);
    assert_eq!(target.list(50).await.unwrap(), [], "another partition whose name begins alike");
    {
        let bucket = shared.lock().unwrap();
        assert_eq!((bucket.multipart, bucket.unsigned), (2, 0));
    }

    let there = folder.path().join("there.db");
    target.fetch(&listed[0], &there).await.unwrap();
    assert_eq!(state::State::open(&there, 5).unwrap().position().unwrap(), Some(30));
    let key = filling(8).put[0].key.clone();
    let same = |state: &state::State| state.load(&key).unwrap().unwrap();
    assert_eq!(same(&state::State::open(&there, 5).unwrap()), same(&state));

    let wrong = S3 { access_key: Some("stranger".into()), ..s3 };
    let target = Target::open("s3://state/some/where", &wrong).unwrap();
    let error = target.probe().await.unwrap_err().to_string();
    assert!(error.contains("writing some/where/probe-"), "{error}");
}
