//! `generate IN.wasm OUT_DIR`: writes the JavaScript and TypeScript side of a wasm file.
//!
//! Called by `.ci/run` for the page's machine and, through `tests/run.mjs`, for the tests that run on wasm32.

use core::error::Error;
use std::env;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(input), Some(output), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: generate IN.wasm OUT_DIR".into());
    };
    Bindgen::new()
        .input_path(input)
        .web(true)?
        .typescript(true)
        .omit_default_module_path(false) // `init()` then finds the .wasm beside the script
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(output)?;
    Ok(())
}
