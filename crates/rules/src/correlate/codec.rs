use hubwarden_event::EventId;

/// Layout of every piece of state; a changed layout gets the next number.
const VERSION: u8 = 1;

/// State bytes that this release cannot take up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Written by another release.
    #[error("the state has layout version {found}, this release reads {VERSION}")]
    Version {
        /// The version that stands in the bytes.
        found: u8,
    },
    /// The bytes end early or do not fit together.
    #[error("the state is damaged: {0}")]
    Damaged(&'static str),
    /// A stored record is from a release with other fields, or damaged.
    #[error("a record in the state cannot be read")]
    Record(#[from] hubwarden_event::FlatError),
}

/// Writes one piece of state, its version first.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![VERSION])
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend(bytes);
    }

    pub(super) fn optional(&mut self, value: Option<i64>) {
        self.u8(u8::from(value.is_some()));
        self.i64(value.unwrap_or_default());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what [`Writer`] wrote; never panics on what it did not.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, StateError> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Self(rest)),
            Some((&found, _)) => Err(StateError::Version { found }),
            None => Err(StateError::Damaged("empty")),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(StateError::Damaged("too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, StateError> {
        self.array::<1>().map(|[value]| value)
    }

    pub(super) fn u32(&mut self) -> Result<u32, StateError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, StateError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, StateError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let length = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let (head, rest) =
            self.0.split_at_checked(length).ok_or(StateError::Damaged("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, StateError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| StateError::Damaged("not UTF-8"))
    }

    pub(super) fn optional(&mut self) -> Result<Option<i64>, StateError> {
        let present = self.u8()? != 0;
        let value = self.i64()?;
        Ok(present.then_some(value))
    }

    pub(super) fn event_id(&mut self) -> Result<EventId, StateError> {
        self.array().map(EventId::from_bytes)
    }
}
