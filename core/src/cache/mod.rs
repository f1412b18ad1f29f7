//! What the device remembers, and how it forgets.
//!
//! Invalidation is a value before it is an effect: a [`scope::Scope`] says what a command names, each cache applies it
//! in one pass, and the same value can be asked about one entry. No cache knows a register or a queue.

pub mod config;
pub mod iotlb;
mod packed;
pub mod scope;
pub(crate) mod spaces;
#[cfg(feature = "alloc")]
mod unbounded;
pub mod walk_cache;
