//! What stands at the beginning of a stream.

use crate::tracker::{AddressFamilies, Minute};

use super::error::StreamError;
use super::format::{Fields, IPV4, IPV6, MAGIC, VERSION};

/// What a stream tells of itself before the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The writer keeps IPv4 peers.
    pub ipv4: bool,
    /// The writer keeps IPv6 peers.
    pub ipv6: bool,
    /// Whoever finds several streams takes that with the highest.
    pub generation: u64,
    /// When it was written, by the writer's clock.
    pub minute: Minute,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = 8 + 2 + 1 + 8 + 4;

    /// Makes the header of a stream that a tracker of these families begins.
    pub(super) fn of<F: AddressFamilies>(generation: u64, minute: Minute) -> Self {
        Self { ipv4: F::IPV4, ipv6: F::IPV6, generation, minute }
    }

    /// Reads the header at the beginning of `bytes`. `None` if there are fewer than [`Self::LEN`].
    ///
    /// # Errors
    ///
    /// The first bytes are those of no stream that this program can read.
    pub fn read(bytes: &[u8]) -> Option<Result<Self, StreamError>> {
        Some(Self::parse(bytes.first_chunk::<{ Self::LEN }>()?))
    }

    fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, StreamError> {
        let mut fields = Fields(bytes);
        if fields.take() != MAGIC {
            return Err(StreamError::NotSwarms);
        }
        let version = u16::from_be_bytes(fields.take());
        if version != VERSION {
            return Err(StreamError::Version(version));
        }
        let [families] = fields.take();
        if families & !(IPV4 | IPV6) != 0 || families == 0 {
            return Err(StreamError::Families(families));
        }
        Ok(Self {
            ipv4: families & IPV4 != 0,
            ipv6: families & IPV6 != 0,
            generation: u64::from_be_bytes(fields.take()),
            minute: Minute(u32::from_be_bytes(fields.take())),
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let families = if self.ipv4 { IPV4 } else { 0 } | if self.ipv6 { IPV6 } else { 0 };
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.push(families);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.minute.0.to_be_bytes());
    }
}
