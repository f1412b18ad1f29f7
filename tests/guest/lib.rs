//! The guest's side of the world: what software in front of an SMMU does, and what it may expect.
//!
//! Nothing here uses the core's codecs: bytes are written from the architecture's tables, and the two oracles (`oracle`, a
//! walk; `kept`, what a cache may still hold) are the dullest code that does what the tables say.

pub mod bits;
pub mod commands;
pub mod driver;
pub mod kept;
pub mod machine;
pub mod oracle;
pub mod scenario;
pub mod tables;
