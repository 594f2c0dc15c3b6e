use bytes::Bytes;
use hubwarden_event::{DeadLetter, EventBody, Finding, MatchBody, RawBody};
use prost::Message;

use crate::{Error, v1};

macro_rules! body {
    ($encode:ident, $decode:ident, $model:ty, $wire:ty, $topic:literal) => {
        #[doc = concat!("The bytes of a record of topic ", $topic, ".")]
        pub fn $encode(value: $model) -> Bytes {
            <$wire>::from(value).encode_to_vec().into()
        }

        #[doc = concat!("Reads a record of topic ", $topic, ".")]
        ///
        /// # Errors
        /// Bytes that are not such a record, or a record of a later release.
        pub fn $decode(bytes: Bytes) -> Result<$model, Error> {
            <$wire>::decode(bytes)?.try_into()
        }
    };
}

body!(encode_raw, decode_raw, RawBody, v1::RawBody, "`raw`");
body!(encode_event, decode_event, EventBody, v1::EventBody, "`events`");
body!(encode_match, decode_match, MatchBody, v1::MatchBody, "`matches`");
body!(encode_finding, decode_finding, Finding, v1::Finding, "`findings`");
body!(
    encode_dead_letter,
    decode_dead_letter,
    DeadLetter,
    v1::DeadLetter,
    "`raw.dead` and `events.dead`"
);
