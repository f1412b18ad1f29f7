//! The fuzzer's bytes, read from the front.

/// What is left of them. It ends when they do.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of `data`.
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// The next two bytes, little-endian.
    pub fn half(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    /// The next four bytes, little-endian.
    pub fn word(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    /// The next eight bytes, little-endian.
    pub fn dword(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A command: the next 16 bytes as they would lie in the queue.
    pub fn command(&mut self) -> Option<[u64; 2]> {
        Some([self.dword()?, self.dword()?])
    }
}
