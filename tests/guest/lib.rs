//! The guest's side of the world: what a machine around an SMMU has, and what is done with it.

pub mod device;
pub mod ram;
pub mod replay;
pub mod transcript;
