//! Who reads a connection: the collector that owns its partition of the topic `cursors`.

use hubwarden_bus::{Error as BusError, Limit, Source, topic};

use crate::Error;

/// Whether a reader of `cursors` owns this partition, and with it the connections that hash to it.
fn owns(reader: &impl Source, partition: u32) -> bool {
    reader.assignment().contains(&(topic::CURSORS, partition))
}

/// Waits until the reader owns the partition.
pub(super) async fn own(reader: &mut impl Source, partition: u32) -> Result<(), Error> {
    while !owns(reader, partition) {
        reader.next_batch(Limit::default()).await?;
    }
    Ok(())
}

/// Waits until the reader no longer owns the partition, and says so.
pub(super) async fn lose(reader: &mut impl Source, partition: u32) -> Error {
    loop {
        match reader.next_batch(Limit::default()).await {
            Ok(_) if owns(reader, partition) => {} // it reads its own cursors
            Ok(_) => {
                let reason = "another collector reads the connection now".into();
                return BusError::Reassigned { reason }.into();
            }
            Err(error) => return error.into(),
        }
    }
}
