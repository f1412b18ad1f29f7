//! The border as JavaScript sees it, run on wasm32 itself: every exported function is one test (`tests/run.mjs`).
//!
//! A refusal is an exception, and an exception can only be made inside a JavaScript engine. That is why these tests
//! are no host tests.

#![allow(missing_docs, unreachable_pub)] // a test's name is its documentation, and JavaScript has to see it

#[cfg(target_arch = "wasm32")]
mod tests {
    use smmuv3_wasm::{Dma, Machine};
    use wasm_bindgen::prelude::*;

    const CR0: u32 = 0x20;
    const STRTAB_BASE_CFG: u32 = 0x88;
    const CMDQ_BASE: u32 = 0x90;
    const SMMUEN: u32 = 1;

    #[wasm_bindgen]
    pub fn a_machine_has_the_iotlb_it_was_asked_for() -> Result<(), JsError> {
        Machine::new(1, 1)?;
        Machine::new(1024, 4)?; // all that there is room for, on wasm's stack before it is in its box
        refused(Machine::new(1024, 5))?;
        refused(Machine::new(3, 4))
    }

    #[wasm_bindgen]
    pub fn a_registers_halves_are_its_whole() -> Result<(), JsError> {
        let mut machine = Machine::new(64, 4)?;
        machine.write64(CMDQ_BASE, 0x4000_0000_0012_3408)?;
        let halves = (machine.read(CMDQ_BASE + 4)?, machine.read(CMDQ_BASE)?);
        same(machine.read64(CMDQ_BASE)?, u64::from(halves.0) << 32 | u64::from(halves.1))
    }

    #[wasm_bindgen]
    pub fn an_unaligned_access_is_refused() -> Result<(), JsError> {
        let mut machine = Machine::new(64, 4)?;
        refused(machine.read(CR0 + 1))?;
        refused(machine.write(CR0 + 2, SMMUEN))
    }

    #[wasm_bindgen]
    pub fn memory_is_zero_until_written_and_crosses_pages() -> Result<(), JsError> {
        let mut machine = Machine::new(64, 4)?;
        machine.poke(0x1_0000_0ffe, &[1, 2, 3, 4])?;
        same(machine.peek(0x1_0000_0ffd, 6)?, vec![0, 1, 2, 3, 4, 0])
    }

    #[wasm_bindgen]
    pub fn memory_ends_where_physical_addresses_do() -> Result<(), JsError> {
        let mut machine = Machine::new(64, 4)?;
        machine.poke((1 << 52) - 1, &[1])?;
        refused(machine.poke((1 << 52) - 1, &[1, 2]))?;
        refused(machine.peek(u64::MAX, 2))
    }

    #[wasm_bindgen]
    pub fn a_disabled_smmu_lets_a_transaction_pass() -> Result<(), JsError> {
        let mut machine = Machine::new(64, 4)?;
        let Dma { pa, response, .. } = machine.dma(7, 0x8000_0123, false);
        same((pa, response), (Some(0x8000_0123), None))
    }

    #[wasm_bindgen]
    pub fn a_stream_without_a_table_is_terminated() -> Result<(), JsError> {
        let mut machine = Machine::new(64, 4)?;
        machine.write(CR0, SMMUEN)?;
        let Dma { pa, response, .. } = machine.dma(7, 0x8000_0123, true);
        same((pa, response.as_deref()), (None, Some("abort")))
    }

    /// Two STEs at address 0. Stream 0's is not valid. Stream 1's has a CD with a table, whose entry 1 is a 1 GiB block.
    #[wasm_bindgen]
    pub fn streams_go_where_tables_in_memory_say() -> Result<(), JsError> {
        let mut machine = Machine::new(64, 4)?;
        for (pa, word) in
            [(0x40, 0x100b), (0x1000, 0x6202_c000_0019), (0x1008, 0x2000), (0x2008, 0x8000_0741_u64)]
        {
            machine.poke(pa, &word.to_le_bytes())?;
        }
        machine.write(STRTAB_BASE_CFG, 1)?;
        machine.write(CR0, SMMUEN)?;
        let Dma { pa, span, .. } = machine.dma(1, 0x4000_1234, false);
        same((pa, span), (Some(0x8000_1234), Some((1 << 30) - 0x1234)))?;
        let Dma { response, event, .. } = machine.dma(0, 0x4000_1234, false);
        same((response.as_deref(), event.as_deref()), (Some("abort"), Some("C_BAD_STE")))
    }

    #[wasm_bindgen]
    pub fn id_fields_put_together_are_the_registers() -> Result<(), JsError> {
        let machine = Machine::new(64, 4)?;
        for offset in [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x190] {
            let fields = machine.id_fields().into_iter().filter(|field| field.offset == offset);
            same(fields.fold(0, |word, field| word | field.value << field.low), machine.read(offset)?)?;
        }
        Ok(())
    }

    fn same<T: PartialEq + core::fmt::Debug>(left: T, right: T) -> Result<(), JsError> {
        if left == right { Ok(()) } else { Err(JsError::new(&format!("{left:x?} is not {right:x?}"))) }
    }

    fn refused<T>(result: Result<T, JsError>) -> Result<(), JsError> {
        if result.is_err() { Ok(()) } else { Err(JsError::new("this was not refused")) }
    }
}

/// On a host there is nothing to run.
fn main() {}
