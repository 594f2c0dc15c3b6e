//! The one place that names span attributes: the messaging conventions are still in development.

pub(crate) use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
    MESSAGING_BATCH_MESSAGE_COUNT, MESSAGING_CONSUMER_GROUP_NAME, MESSAGING_DESTINATION_NAME,
    MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_KAFKA_OFFSET, MESSAGING_OPERATION_NAME,
    MESSAGING_OPERATION_TYPE, MESSAGING_SYSTEM, RPC_METHOD, RPC_SYSTEM_NAME, SERVICE_INSTANCE_ID,
    SERVICE_NAMESPACE, SERVICE_VERSION,
};

/// Marks a span that is exported whatever the sampling says.
pub(crate) const KEEP: &str = "hubwarden.keep";

/// The id of a finding, in the link that leads from its publishing to its trace.
pub(crate) const FINDING_ID: &str = "hubwarden.finding.id";
