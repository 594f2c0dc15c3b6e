/// Bytes or messages that do not hold what their type promises.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a protobuf message of the expected type.
    #[error("the bytes are not a message of this contract")]
    Decode(#[from] prost::DecodeError),
    /// A message without its content, written by a later release or damaged.
    #[error("the message lacks `{0}`; it was written by a later release or is damaged")]
    Missing(&'static str),
    /// A field with a value outside its closed set.
    #[error("field `{field}` holds `{value}`, which this release does not know")]
    Unknown {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// A flat record that cannot be read.
    #[error("the event's flat record cannot be read")]
    Flat(#[from] hubwarden_event::FlatError),
    /// Evidence that is not a JSON object.
    #[error("the evidence is not a JSON object")]
    Json(#[from] serde_json::Error),
}
