//! Nothing: what a fuzzer can do at most, to which the other targets are compared.

/// Does nothing.
pub fn run(data: &[u8]) {
    core::hint::black_box(data);
}
