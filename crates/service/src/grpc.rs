//! gRPC as every service serves and calls it: deny by default, deadlines, limits, compression.

mod client;
mod guard;
mod methods;
mod page;
mod server;

pub use client::{ClientConfig, ConnectError, GrpcChannel, Outgoing, call, connect, connect_as};
pub use guard::{Guard, Guarded};
pub use methods::{METHODS, Method, method};
pub use page::{Page, page};
pub use server::{GrpcConfig, Server, ServerError};
#[doc(hidden)]
pub use tonic::codec::CompressionEncoding;

/// A generated server or client with message limits and compression: `grpc_limits!(server NAME, bytes)`
/// or `grpc_limits!(client NAME, bytes)`.
///
/// Servers answer with gzip or zstd where the caller takes them. Clients take both; what they send
/// stays plain.
#[macro_export]
macro_rules! grpc_limits {
    (server $service:expr, $max:expr) => {
        $crate::grpc_limits!(client $service, $max)
            .send_compressed($crate::grpc::CompressionEncoding::Zstd)
            .send_compressed($crate::grpc::CompressionEncoding::Gzip)
    };
    (client $service:expr, $max:expr) => {
        $service
            .max_decoding_message_size($max)
            .max_encoding_message_size($max)
            .accept_compressed($crate::grpc::CompressionEncoding::Zstd)
            .accept_compressed($crate::grpc::CompressionEncoding::Gzip)
    };
}

#[cfg(test)]
mod tests;
