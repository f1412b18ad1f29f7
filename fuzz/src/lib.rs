//! What a fuzzer lets a guest do, and what must hold whatever it does.
//!
//! A target is one module with a `run`. The program under `targets/` hands it the fuzzer's bytes; `tests/seeds.rs`
//! hands it the files under `seeds/`, so that a finding, once it has a name there, is a test on the stable toolchain.
//!
//! Bytes become actions by [`Input`] rather than by a derive: adding an action must not change what an older seed
//! means, and a seed must be writable by hand.

pub mod command_queue;
pub mod world;

/// The fuzzer's bytes, read from the front. It ends when they do.
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
}
