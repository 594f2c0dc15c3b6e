//! Compiles the contract without a system `protoc`.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::path::Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let files = ["record", "finding", "ingest", "source", "rule"]
        .map(|name| root.join(format!("hubwarden/v1/{name}.proto")));
    let descriptors = protox::compile(files, [root])?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(format!("{out}/hubwarden.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
