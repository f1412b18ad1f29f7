//! The guest's side of the world: what a machine around an SMMU has, what software in front of one does, and what it may
//! expect.
//!
//! Nothing here uses the core's codecs: bytes are written from the architecture's tables, and the oracles (`oracle`, a
//! stage 1 walk; `kept`, what a cache may still hold; `oracle_nested`, both for both stages) are the dullest code that does
//! what the tables say.

pub mod bench;
pub mod bits;
pub mod campaign;
pub mod commands;
pub mod counters;
pub mod device;
pub mod driver;
mod edits;
pub mod figures;
pub mod kept;
pub mod kept_nested;
pub mod machine;
pub mod machine_nested;
pub mod oracle;
pub mod oracle_nested;
pub mod ram;
pub mod replay;
pub mod scenario;
pub mod scenario_nested;
pub mod stages;
pub mod tables;
pub mod transcript;
pub mod twins;
pub mod unmap;
pub mod watch;

/// README.md's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
