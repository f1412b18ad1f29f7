//! The border as JavaScript sees it, run on wasm32 itself: every exported function is one test (`tests/run.mjs`).
//!
//! A refusal is an exception, and an exception can only be made inside a JavaScript engine. That is why these tests
//! are no host tests.

#![allow(missing_docs, unreachable_pub)] // a test's name is its documentation, and JavaScript has to see it

#[cfg(target_arch = "wasm32")]
mod tests {
    use smmuv3_wasm::Machine;
    use wasm_bindgen::prelude::*;

    const EVERYTHING: u32 = u32::MAX;
    const CMDQ_CONS: u32 = 0x9c;
    const SETUP: &str = "stream 8 asid=3
        map 8 0x4000000000 pa=0x2000000000 bytes=64K
        dma 8 0x4000000000 count=16 stride=4K";
    const RANGE: &str = "tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=0 ttl=3 leaf=1";

    fn filled() -> Result<Machine, JsError> {
        let mut machine = Machine::new("sets=16 ways=8")?;
        machine.load("", SETUP, "")?;
        Ok(machine)
    }

    #[wasm_bindgen]
    pub fn a_machine_has_the_iotlb_it_was_asked_for() -> Result<(), JsError> {
        let mut machine = Machine::new("sets=1024 ways=4")?; // all that there is room for, on wasm's stack before its box
        machine.fill();
        same(machine.slots(), 4096)?;
        refused(Machine::new("sets=1024 ways=5"))?;
        refused(Machine::new("sets=3"))?;
        refused(Machine::new("colour=red"))
    }

    #[wasm_bindgen]
    pub fn an_unaligned_register_is_refused() -> Result<(), JsError> {
        let machine = filled()?;
        refused(machine.read(CMDQ_CONS + 1))?;
        refused(machine.read(0x4_0000))
    }

    #[wasm_bindgen]
    pub fn a_bad_line_changes_nothing() -> Result<(), JsError> {
        let mut machine = filled()?;
        let before = (machine.now(), machine.live(), machine.own());
        for line in [
            "dma",
            "dma 8",
            "fly 8 0x0",
            "map 8 0x1 pa=0x0 bytes=4K",
            "unmap 77 0x0",
            "tlbi_nh_va asid=0x10000",
        ] {
            refused(machine.act(line))?;
        }
        refused(machine.load("", "stream 8", "nonsense"))?;
        refused(machine.load("", "unmap 8 0x0", ""))?;
        same((machine.now(), machine.live(), machine.own()), before)
    }

    #[wasm_bindgen]
    pub fn a_command_drops_what_was_previewed() -> Result<(), JsError> {
        let mut machine = filled()?;
        machine.compose(RANGE)?;
        same(machine.live(), 16)?; // nothing has been sent
        machine.act(RANGE)?;
        machine.run(EVERYTHING);
        same(machine.live(), 0)?;
        same(machine.read(CMDQ_CONS)?, 1)
    }

    #[wasm_bindgen]
    pub fn going_back_restores_and_going_on_repeats() -> Result<(), JsError> {
        let mut machine = filled()?;
        machine.load(
            "",
            SETUP,
            &format!("unmap 8 0x4000000000 bytes=64K\n{RANGE}\nsync\ndma 8 0x4000000000"),
        )?;
        let begin = machine.now();
        machine.run(EVERYTHING);
        let (end, live) = (machine.end(), machine.live());
        machine.seek(begin);
        same((machine.live(), machine.end()), (16, end))?;
        machine.seek(end);
        same((machine.live(), machine.over()), (live, true))
    }

    #[wasm_bindgen]
    pub fn acting_in_the_past_gives_the_future_up() -> Result<(), JsError> {
        let mut machine = filled()?;
        machine.act(RANGE)?;
        machine.run(EVERYTHING);
        machine.seek(machine.now() - 1);
        machine.act("sync")?;
        machine.run(EVERYTHING);
        same(machine.live(), 16)
    }

    #[wasm_bindgen]
    pub fn a_storm_is_as_many_commands_as_it_says() -> Result<(), JsError> {
        let mut machine = filled()?;
        machine.act("storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=1000 stride=4K")?;
        machine.run(EVERYTHING);
        same((machine.commands(), machine.live()), (1000, 0))
    }

    #[wasm_bindgen]
    pub fn what_is_exported_is_imported() -> Result<(), JsError> {
        let mut machine = filled()?;
        machine.act("unmap 8 0x4000000000 bytes=64K")?;
        machine.run(EVERYTHING);
        machine.act(RANGE)?;
        machine.run(EVERYTHING);
        machine.act("dma 8 0x4000000000")?;
        machine.run(EVERYTHING);
        let text = machine.export("test")?;
        let mut other = Machine::new("")?;
        other.import(&text)?;
        other.run(EVERYTHING);
        same((other.commands(), other.live()), (machine.commands(), machine.live()))
    }

    #[wasm_bindgen]
    pub fn a_broken_transcript_is_refused_and_nothing_is_lost() -> Result<(), JsError> {
        let mut machine = filled()?;
        let text = machine.export("test")?;
        let broken = [
            text.replace("\"op\":\"dma\"", "\"op\":\"dance\""),
            text.replace("\"iova\"", "\"address\""),
            text.lines().skip(1).collect::<Vec<_>>().join("\n"),
            "{".to_owned(),
            String::new(),
        ];
        for text in broken {
            refused(machine.import(&text))?;
        }
        same(machine.live(), 16)
    }

    #[wasm_bindgen]
    pub fn ranges_fit_what_they_have_to_cover() -> Result<(), JsError> {
        let gib = f64::from(1u32 << 30);
        same(Machine::fit(gib, 12), vec![0, 18])?;
        same(Machine::fit(4096.0, 12), vec![0, 0])?;
        same(Machine::fit(33.0 * 4096.0, 12), vec![16, 1])?;
        same(Machine::fit(5.0 * 4096.0, 12), vec![4, 0])
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
