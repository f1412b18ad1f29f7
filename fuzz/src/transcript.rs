//! todo
/// todo
pub fn run(_: &[u8]) {}
