//! The architecture's vocabulary: bit fields, addresses, identifiers, features and faults.
//!
//! Values only. Nothing here knows memory, queues or registers.

pub mod addr;
pub mod attributes;
pub mod bits;
pub mod entry;
pub mod fault;
pub mod features;
pub mod id;
