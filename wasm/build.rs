//! Gives wasm32 the stack that a device needs while it is built: `Box::new` moves it, several times without optimization.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg=-zstack-size={}", 4 << 20); // 1 MiB otherwise; the device has 0.3 MiB
    }
}
