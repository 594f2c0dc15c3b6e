use std::path::Path;
use std::sync::Arc;

use hubwarden_service::SecretRef;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::Error;

/// Where snapshots are kept: a directory that every node sees, or a bucket.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Location,
    pub(super) url: String,
}

/// How a bucket is reached; what is not set here comes from the usual `AWS_…` variables or the
/// machine's role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// Address of a store other than Amazon's, such as `https://minio.example.com:9000`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key: Option<String>,
    /// The secret key.
    pub secret_key: Option<SecretRef>,
}

impl Target {
    /// The target of an address: `file:///folder` (made if need be) or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// The address is not understood, the folder cannot be made, or a secret is missing.
    pub fn open(url: &str, s3: &S3) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Url { url: url.into(), reason: reason.into() };
        match url.split_once("://") {
            Some(("file", folder)) if folder.starts_with('/') => Self::directory(Path::new(folder)),
            Some(("file", _)) => Err(wrong("the path of a file:// address begins with `/`")),
            Some(("s3", place)) => {
                let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
                if bucket.is_empty() {
                    return Err(wrong("it names no bucket"));
                }
                let prefix = Location::parse(prefix).map_err(|error| wrong(&error.to_string()))?;
                let store = bucket_store(bucket, s3)?;
                let store = store.build().map_err(|error| wrong(&error.to_string()))?;
                Ok(Self { store: Arc::new(store), prefix, url: url.into() })
            }
            _ => Err(wrong("it begins neither with file:// nor with s3://")),
        }
    }

    /// A directory, made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(folder: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { doing: "making", file: folder.into(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let url = format!("file://{}", folder.display());
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| Error::Url { url: url.clone(), reason: error.to_string() })?
            .with_fsync(true);
        Ok(Self { store: Arc::new(store), prefix: Location::default(), url })
    }

    /// The address, as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn bucket_store(bucket: &str, s3: &S3) -> Result<AmazonS3Builder, Error> {
    // The process has one TLS provider; a second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if let Some(endpoint) = &s3.endpoint {
        let plain = endpoint.starts_with("http://");
        builder = builder.with_endpoint(endpoint).with_allow_http(plain);
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let Some(key) = &s3.access_key {
        builder = builder.with_access_key_id(key);
    }
    if let Some(secret) = &s3.secret_key {
        builder = builder.with_secret_access_key(secret.resolve()?.expose_secret());
    }
    Ok(builder)
}
